internal import BackupJob
internal import BlockLayer
internal import Lamina
internal import Primitives
internal import Qcow2
internal import SystemPackage

/// Getting disks back.
extension BackupFolder {
  /// Writes the disk as it was at backup `number` (nil: the last) to a new file `output`, durably.
  func restore(
    _ number: Int?, to output: FilePath, format: String,
    onProgress: @escaping @Sendable (JobProgress) -> Bool
  ) async throws(BlockError) -> Int {
    let numbers = try numbers()
    guard let number = number ?? numbers.last, numbers.contains(number) else {
      let known = numbers.isEmpty ? "it has none" : "it has \(numbers[0]) to \(numbers.last ?? 0)"
      throw BlockError(
        .notFound, "'\(folder.path)' has no backup \(number.map(String.init) ?? "at all"): \(known)"
      )
    }
    let source = try await open(number)
    do throws(BlockError) {
      try await copy(source, to: output, format, onProgress)
      try await graph.close(source)
    } catch {
      try? await graph.close(source)
      throw error
    }
    return number
  }

  private func copy(
    _ source: BlockNode, to output: FilePath, _ format: String,
    _ onProgress: @escaping @Sendable (JobProgress) -> Bool
  ) async throws(BlockError) {
    let parent = output.removingLastComponent()
    let place = HostFolder(path: parent.isEmpty ? "." : parent)
    let name = output.lastComponent?.string ?? ""
    let partial = ".\(name).partial"
    let path = place.path.appending(partial)
    place.remove(partial)
    if place.has(name) {
      throw BlockError(.alreadyExists, "'\(output)' is there already; give another name")
    }
    do throws(BlockError) {
      switch format {
      case "qcow2":
        try await graph.createQcow2(at: path, NewImageOptions(virtualSize: source.length))
      case "raw": try await FileDriver.create(path, length: source.length).close()
      default:
        throw BlockError(.invalidArgument, "a disk is restored as qcow2 or raw, not as '\(format)'")
      }
      var options = OpenOptions(format: format)
      options.node.discard = .unmap  // zeros are holes
      let target = try await graph.open(path, options)
      do throws(BlockError) {
        let spec = BackupSpec(
          source: .node(source), target: .node(target), sync: .full, jobID: "restore")
        _ = try await BackupRun(graph: graph, onProgress: onProgress).run(spec)
        try await graph.close(target)
      } catch {
        try? await graph.close(target)
        throw error
      }
      try place.rename(partial, to: name)
    } catch {
      place.remove(partial)
      throw error
    }
  }
}
