internal import BlockLayer
internal import Lamina
internal import SystemPackage

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// The overlay that takes the changes of `-s`: a file without a name.
enum IOTemporaryImage {
  /// Opens a new overlay over `base`, which is closed with it.
  static func open(
    over base: BlockNode, _ request: IOOpenRequest, in graph: BlockGraph
  ) async throws(BlockError) -> BlockNode {
    let path = try await make(over: base, in: graph)
    // Nobody else sees it, and it is gone with the process.
    defer { _ = unlink(path.string) }
    var options = OpenOptions(
      format: "qcow2", readOnly: request.isReadOnly, backing: .node(base), locking: .off,
      discard: request.ignoresDiscards ? .ignore : .unmap)
    options.node.ignoresFlush = true
    return try await graph.open(path, options)
  }

  private static func make(
    over base: BlockNode, in graph: BlockGraph
  ) async throws(BlockError) -> FilePath {
    let folder = getenv("TMPDIR").map { String(cString: $0) } ?? "/var/tmp"
    let image = NewImage(length: base.length)
    var attempt = 0
    while true {
      let path = FilePath(folder).appending("lamina-\(getpid())-\(attempt).qcow2")
      do throws(BlockError) {
        try await graph.createImage(at: path, format: "qcow2", image)
        return path
      } catch {
        guard error.code == .alreadyExists, attempt < 1000 else { throw error }
        attempt += 1
      }
    }
  }
}
