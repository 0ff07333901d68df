public import BackupJob
public import BlockLayer
internal import Primitives
internal import Qcow2
public import SystemPackage

/// Getting disks back.
extension BackupChain {
  /// Writes the disk as it was at backup `number` (nil: the last) to a new file, durably.
  ///
  /// `format` is `qcow2` or `raw`. The file has its name only once it is whole. Answers the
  /// backup's number. Throws `notFound` for a backup that is not there, `alreadyExists`.
  public func restore(
    _ number: Int? = nil, to output: FilePath, format: String = "qcow2",
    onProgress: @escaping @Sendable (JobProgress) -> Bool = { _ in true }
  ) async throws(BlockError) -> Int {
    let state = try await loadExisting()
    let number = try find(number, in: state)
    let parent = output.removingLastComponent()
    try await restore(
      number, to: output.lastComponent?.string ?? "",
      in: HostFolder(path: parent.isEmpty ? "." : parent), format, onProgress)
    return number
  }

  /// The backup that is asked for; throws when it, or one that it stands on, is not there.
  func find(_ number: Int?, in state: ChainState) throws(BlockError) -> Int {
    let backups = state.manifest.backups
    guard let wanted = number ?? backups.last?.number, state.manifest.index(of: wanted) != nil
    else {
      let known =
        backups.first.map { "it has \($0.number) to \(backups.last?.number ?? 0)" } ?? "it has none"
      throw BlockError(
        .notFound, "'\(folder.path)' has no backup \(number.map(String.init) ?? "at all"): \(known)"
      )
    }
    for backup in state.manifest.segment(upTo: wanted) where state.missing.contains(backup.number) {
      throw BlockError(
        .notFound,
        backup.number == wanted
          ? "the file '\(backup.file)' of backup \(wanted) is missing; bring it back"
          : "backup \(wanted) stands on backup \(backup.number), whose file '\(backup.file)' is "
            + "missing; bring it back, or restore another backup")
    }
    return wanted
  }

  private func restore(
    _ number: Int, to name: String, in place: HostFolder, _ format: String,
    _ onProgress: @escaping @Sendable (JobProgress) -> Bool
  ) async throws(BlockError) {
    let partial = ".\(name).partial"
    let path = place.path.appending(partial)
    guard !place.has(name) else {
      let there = place.path.appending(name)
      throw BlockError(.alreadyExists, "'\(there)' is there already; give another name")
    }
    try place.remove(partial)
    do throws(BlockError) {
      try await withBackup(number) { source throws(BlockError) in
        try await make(path, source.length, format)
        var options = OpenOptions(format: format)
        options.node.discard = .unmap  // zeros are holes
        try await withNode(path, options) { target throws(BlockError) in
          let spec = BackupSpec(
            source: .node(source), target: .node(target), sync: .full, jobID: "restore")
          _ = try await CopyRun(graph: graph, onProgress: onProgress).run(spec)
        }
      }
      try place.rename(partial, to: name)
    } catch {
      try? place.remove(partial)
      throw error
    }
  }

  private func make(_ path: FilePath, _ length: Int, _ format: String) async throws(BlockError) {
    switch format {
    case "raw": try await FileDriver.create(path, length: length).close()
    case "qcow2":
      let file = try graph.addNode(try FileDriver.create(path))
      do throws(BlockError) {
        try await Qcow2Driver.create(NewImageOptions(virtualSize: length), in: file)
      } catch {
        try? await graph.close(file)
        throw error
      }
      try await graph.close(file)
    default:
      throw BlockError(.invalidArgument, "a disk is restored as qcow2 or raw, not as '\(format)'")
    }
  }
}
