public import BackupJob
public import BlockLayer
internal import Primitives
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
    try await checkSegment(upTo: number, in: state)
    let parent = output.removingLastComponent()
    try await restore(
      number, to: output.lastComponent?.string ?? "",
      in: HostFolder(path: parent.isEmpty ? "." : parent), format, onProgress)
    return number
  }

  /// The backup that is asked for; throws when the chain has none of that number.
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
    return wanted
  }

  private func restore(
    _ number: Int, to name: String, in place: HostFolder, _ format: String,
    _ onProgress: @escaping @Sendable (JobProgress) -> Bool
  ) async throws(BlockError) {
    // A name of its own: two restores to one place do not take each other's file.
    let partial = ".\(name).\(TrackingName.newIdentity(graph.world)).partial"
    let path = place.path.appending(partial)
    guard !place.has(name) else {
      let there = place.path.appending(name)
      throw BlockError(.alreadyExists, "'\(there)' is there already; give another name")
    }
    guard ["qcow2", "raw"].contains(format) else {
      throw BlockError(.invalidArgument, "a disk is restored as qcow2 or raw, not as '\(format)'")
    }
    do throws(BlockError) {
      try await withBackup(number) { source throws(BlockError) in
        let image = NewImage(length: source.length)
        try await graph.createImage(at: path, format: format, image)
        var options = OpenOptions(format: format)
        options.node.discard = .unmap  // zeros are holes
        try await withNode(path, options) { target throws(BlockError) in
          let spec = BackupSpec(
            source: .node(source), target: .node(target), sync: .full, jobID: "restore")
          _ = try await CopyRun(graph: graph, onProgress: onProgress).run(spec)
        }
      }
      try place.rename(partial, toNew: name)
    } catch {
      try? place.remove(partial)
      throw error
    }
  }
}
