import BlockLayer
import BlockTestKit
import Execution
import Qcow2

/// A qcow2 image in a simulated disk, opened in a graph of its own.
struct ImageFixture {
  let graph: BlockGraph
  let node: BlockNode
  let backend: BlockBackend

  /// Opens the image on `disk`; at a snapshot, if one is named; or for a repair alone.
  init(
    _ disk: SimulatedDisk, backing: SparseImage?, readOnly: Bool = false,
    at snapshot: SnapshotReference? = nil, forCheck: Bool = false
  ) async throws {
    graph = BlockGraph(world: disk.world, registry: Self.registry, policy: .none)
    let file = try graph.addNode(
      disk, options: NodeOptions(isReadOnly: readOnly, discard: .unmap))
    var options = OpenOptions(
      format: "qcow2", readOnly: readOnly, backing: .ignore, discard: .unmap)
    options.snapshot = snapshot
    options.isForCheck = forCheck
    if let backing {
      let base = SimulatedDisk(
        backing, in: disk.world, schedulingPoints: disk.hasSchedulingPoints)
      options.backing = .node(try graph.addNode(base, options: NodeOptions(isReadOnly: true)))
    }
    node = try await graph.open(file: file, options)
    backend = try BlockBackend(node, in: graph)
  }

  /// Closes the image; what it caches is written.
  func close() async throws {
    await backend.close()
    try await graph.close(node)
  }

  /// A new image on `disk`.
  static func create(_ options: NewImageOptions, on disk: SimulatedDisk) async throws {
    let graph = BlockGraph(world: disk.world, registry: DriverRegistry(), policy: .none)
    let file = try graph.addNode(disk)
    try await Qcow2Driver.create(options, in: file)
    try await graph.close(file)
  }

  private static let registry: DriverRegistry = {
    var registry = DriverRegistry()
    registry.addFormat("qcow2", recognises: Qcow2Driver.recognises) {
      (file, context) async throws(BlockError) in try await Qcow2Driver.open(file, context)
    }
    return registry
  }()
}
