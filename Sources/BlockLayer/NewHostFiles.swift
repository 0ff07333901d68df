public import SystemPackage

/// Host files that become one image, empty and locked.
///
/// Those that are new are gone again when the image cannot be made.
public struct NewHostFiles: Sendable {
  /// The open files, in the order of their names.
  public private(set) var nodes: [BlockNode] = []
  private let graph: BlockGraph
  private var new: [(path: FilePath, file: FileIdentity)] = []

  fileprivate init(in graph: BlockGraph) { self.graph = graph }

  fileprivate mutating func add(_ path: FilePath, replacing: Bool) throws(BlockError) {
    let (driver, isNew) = try FileDriver.createKeepingContents(path, replacing: replacing)
    if isNew { new.append((path, driver.identity)) }
    nodes.append(try graph.addNode(driver))
  }

  /// Lets `body` fill the files, and closes them; when that fails, removes those that are new.
  public func fill(
    _ body: () async throws(BlockError) -> Void
  ) async throws(BlockError) {
    do throws(BlockError) {
      try await body()
    } catch {
      await abandon()
      throw error
    }
    for node in nodes.reversed() { try await graph.close(node) }
  }

  fileprivate func abandon() async {
    for node in nodes.reversed() { try? await graph.close(node) }
    for (path, file) in new { path.removeRegularFile(file) }
  }
}

extension BlockGraph {
  /// Makes the host files of an image; those that are there are refused, or emptied if `replacing`.
  ///
  /// Nothing is emptied before all are there and locked, and known to be used by no node of this
  /// graph. After a failure none is left that was not there before.
  public func newHostFiles(
    _ paths: [FilePath], replacing: Bool
  ) async throws(BlockError) -> NewHostFiles {
    for path in paths { try checkUnused(path) }
    var files = NewHostFiles(in: self)
    do throws(BlockError) {
      for path in paths { try files.add(path, replacing: replacing) }
      for node in files.nodes where node.length > 0 {
        try await node.resize(to: 0, mayShrink: true)
      }
    } catch {
      await files.abandon()
      throw error
    }
    return files
  }
}
