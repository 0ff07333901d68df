internal import BlockLayer
internal import Execution
internal import Lamina
internal import SystemPackage

/// Images as qemu's tools open them: every name followed, formats probed where none is given.
struct ImageSession: Sendable {
  let tool: Tool
  let graph: BlockGraph

  /// A session whose gate is the policy that `--policy` names, `permissive` without one.
  init(_ tool: Tool, policy name: String? = nil) throws(ToolFailure) {
    self.tool = tool
    guard let world = World.current else {
      throw ToolFailure(message: "a command runs inside a World")
    }
    let policy: OpenPolicy
    switch name ?? "permissive" {
    case "permissive": policy = .permissive
    case "confined": policy = .confined
    case "none": policy = .none
    default: throw .usage("--policy must be one of permissive, confined, none")
    }
    graph = BlockGraph(world: world, policy: policy)
  }

  /// Opens the image at `path`; errors say which.
  func open(
    _ path: String, format: String?, readOnly: Bool = true, forceShare: Bool = false,
    backing: OpenOptions.Backing = .fromImage, isForCheck: Bool = false,
    confinement: FilePath? = nil, ignoresFlush: Bool = false, snapshot: SnapshotReference? = nil
  ) async throws(BlockError) -> BlockNode {
    var options = OpenOptions(format: format, readOnly: readOnly, backing: backing)
    if forceShare { options.locking = .forceShare }
    options.isForCheck = isForCheck
    options.confinement = confinement
    options.node.discard = .unmap
    options.node.ignoresFlush = ignoresFlush
    options.snapshot = snapshot
    do {
      if format == nil {
        options.format = try await probe(path, options)
        options.isFormatGuessed = true
      }
      return try await graph.open(path, options)
    } catch {
      throw error.prefixed("Could not open '\(OpenPolicy.printable(path))'")
    }
  }

  /// The format of a file whose format nobody said.
  ///
  /// A raw one is warned of when it would be written.
  private func probe(_ path: String, _ options: OpenOptions) async throws(BlockError) -> String {
    var fileOptions = options
    fileOptions.format = "file"
    fileOptions.snapshot = nil
    fileOptions.isReadOnly = true
    let file = try await graph.open(path, fileOptions)
    let format = try await graph.probe(file)
    try await graph.close(file)
    if format == "raw", !options.isReadOnly {
      tool.console.complain(
        "WARNING: Image format was not specified for '\(OpenPolicy.printable(path))' and probing "
          + "guessed raw.\n         Automatically detecting the format is dangerous for raw "
          + "images, write operations on block 0 will be restricted.\n"
          + "         Specify the 'raw' format "
          + "explicitly to remove the restrictions.")
    }
    return format
  }
}
