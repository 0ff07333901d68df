import BlockLayer
import Execution
import Primitives
import Qcow2

/// An image in memory, opened.
struct Opened {
  let graph: BlockGraph
  let disk: MemoryDriver
  let file: BlockNode
  let node: BlockNode
  let door: BlockBackend

  private static let registry: DriverRegistry = {
    var registry = DriverRegistry()
    registry.addFormat("qcow2") { (node, context) throws(BlockError) in
      try await Qcow2Driver.open(node, context)
    }
    return registry
  }()

  static func makeGraph(in world: World) -> BlockGraph {
    BlockGraph(world: world, registry: registry, policy: .none)
  }

  /// What is below overlays: never zeros, so that a hole in the overlay shows.
  ///
  /// Filled when it is first used, and never written again: its nodes are read-only.
  private static let below = MemoryDriver(length: SmallImage.diskSize)

  private static func addBelow(to graph: BlockGraph) async throws(BlockError) -> BlockNode {
    if below.allocatedBytes == 0 {
      let bytes = (0..<SmallImage.diskSize).map { UInt8(truncatingIfNeeded: $0 >> 9) | 1 }
      try await below.write(ByteRange(0, bytes.count), from: bytes.span.bytes)
    }
    return try graph.addNode(below, name: "below", options: NodeOptions(isReadOnly: true))
  }

  /// Opens what is on `disk`, with a backing disk or a data file if `image` has one.
  static func open(
    _ disk: MemoryDriver, of image: SmallImage, in world: World, readOnly: Bool,
    dataFile: MemoryDriver? = nil
  ) async throws(BlockError) -> Opened {
    let graph = makeGraph(in: world)
    let file = try graph.addNode(disk, name: "file", options: NodeOptions(discard: .unmap))
    var options = OpenOptions(
      format: "qcow2", readOnly: readOnly, backing: .ignore, discard: .unmap)
    if image.hasBacking {
      options.backing = .node(try await addBelow(to: graph))
    }
    if let dataFile { options.dataFile = .node(try graph.addNode(dataFile, name: "data")) }
    let node = try await graph.open(file: file, options)
    return Opened(
      graph: graph, disk: disk, file: file, node: node, door: try BlockBackend(node, in: graph))
  }

  func close() async throws(BlockError) {
    await door.close()
    try await graph.close(node)
  }

  /// What a check says of the image on `disk`; nil when its header cannot be used.
  static func check(_ disk: MemoryDriver, in world: World) async -> ImageCheck? {
    let graph = makeGraph(in: world)
    var options = OpenOptions(format: "qcow2", readOnly: true, backing: .ignore)
    options.isForCheck = true
    guard let file = try? graph.addNode(disk, name: "file"),
      let node = try? await graph.open(file: file, options),
      let driver = node.driver as? Qcow2Driver
    else { return nil }
    let result = try? await driver.check()
    // Of thousands, which all are made alike, the first.
    for finding in result?.findings.prefix(16) ?? [] {
      require(!finding.message.isEmpty, "a finding without words")
    }
    try? await graph.close(node)
    return result
  }
}

extension ImageCheck {
  /// Whether nothing is wrong but space that nobody uses.
  var isSound: Bool { corruptions == 0 && checkErrors == 0 && isComplete }
}
