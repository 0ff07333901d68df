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

  /// Opens the image at `path`, or whatever else that names; errors say which.
  func open(
    _ path: String, format: String?, readOnly: Bool = true, forceShare: Bool = false,
    backing: OpenOptions.Backing = .fromImage, isForCheck: Bool = false,
    confinement: FilePath? = nil, ignoresFlush: Bool = false, snapshot: SnapshotReference? = nil
  ) async throws(BlockError) -> BlockNode {
    try await open(
      ImageName(path), format: format, readOnly: readOnly, forceShare: forceShare,
      backing: backing, isForCheck: isForCheck, confinement: confinement,
      ignoresFlush: ignoresFlush, snapshot: snapshot)
  }

  /// Opens the image that `name` names; errors say which.
  func open(
    _ name: ImageName, format: String?, readOnly: Bool = true, forceShare: Bool = false,
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
    return try await build(name, options).node
  }

  /// Opens the image that `name` names, and says how its name is shown; errors say which.
  ///
  /// With `leavesFormat` only what is below the image is opened.
  func build(
    _ name: ImageName, _ options: OpenOptions, leavesFormat: Bool = false
  ) async throws(BlockError) -> NodeBuilder.Built {
    guard !name.isOptionList || options.format == nil else {
      throw BlockError(
        .invalidArgument, "--image-opts and --format are mutually exclusive")
    }
    var builder = NodeBuilder(tool: tool, graph: graph, options: options)
    builder.leavesFormat = leavesFormat
    do {
      return try await builder.open(name)
    } catch {
      throw error.prefixed("Could not open '\(OpenPolicy.printable(name.text))'")
    }
  }
}
