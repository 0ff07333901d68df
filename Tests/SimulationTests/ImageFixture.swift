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

  /// What the engine's own check says otherwise than `audit`, which found no corruption; nil when
  /// both agree.
  func checkDisagrees(with audit: ImageAudit) async throws -> String? {
    guard let image = node.driver as? any CheckableImage else { return "it cannot be checked" }
    let found = try await image.check()
    if found.corruptions == 0, found.checkErrors == 0, found.leaks == audit.leaks { return nil }
    return "the check finds \(found.corruptions) corruptions, \(found.checkErrors) errors and "
      + "\(found.leaks) leaks, the audit \(audit.leaks) leaks: "
      + found.findings.prefix(3).map(\.message).joined(separator: "; ")
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
