import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Qcow2
import Synchronization

/// An image on a disk in memory, in a World of its own.
struct ImageFixture: Sendable {
  let world: World
  let graph: BlockGraph
  let file: BlockNode
  let disk: SimulatedDisk

  /// Knows qcow2, and nothing else.
  static let registry: DriverRegistry = {
    var registry = DriverRegistry()
    registry.addFormat("qcow2", recognises: { Qcow2Driver.recognises($0) }) {
      (node, context) throws(BlockError) in
      try await Qcow2Driver.open(node, context)
    }
    return registry
  }()

  /// Makes an image with `options`, whose file drops discards or lets the disk see them.
  static func create(
    _ options: NewImageOptions, in world: World, discard: NodeOptions.Discard = .ignore
  ) async throws -> ImageFixture {
    let disk = SimulatedDisk(in: world, schedulingPoints: false)
    let graph = BlockGraph(world: world, registry: registry)
    let file = try graph.addNode(
      disk, name: "file", options: NodeOptions(discard: discard))
    try await Qcow2Driver.create(options, in: file)
    return ImageFixture(world: world, graph: graph, file: file, disk: disk)
  }

  /// Opens a copy of an image read-only, in a graph of its own.
  static func opened(
    _ image: SparseImage, in world: World, faults: FaultPlan = .none
  ) async throws -> BlockBackend {
    let disk = SimulatedDisk(image, in: world, schedulingPoints: false)
    disk.faults = faults
    let graph = BlockGraph(world: world, registry: registry)
    let file = try graph.addNode(disk, name: "file")
    let node = try await graph.open(
      file: file, OpenOptions(format: "qcow2", readOnly: true, backing: .ignore))
    return try BlockBackend(node, in: graph)
  }

  /// Opens the image and a door to it.
  func open(
    readOnly: Bool = false, backing: BlockNode? = nil, dataFile: BlockNode? = nil
  ) async throws(BlockError) -> BlockBackend {
    var options = OpenOptions(
      format: "qcow2", readOnly: readOnly, backing: backing.map { .node($0) } ?? .ignore,
      discard: .unmap)
    if let dataFile { options.dataFile = .node(dataFile) }
    let node = try await graph.open(file: file, options)
    return try BlockBackend(node, in: graph)
  }

  /// Closes door and image.
  func close(_ disk: BlockBackend) async throws(BlockError) {
    let node = disk.node
    await disk.close()
    try await graph.close(node)
  }

  /// The 8-byte big-endian words of the file from `offset` on.
  func words(at offset: Int, count: Int) async throws(BlockError) -> [UInt64] {
    let bytes = try await bytes(at: offset, count: count * 8)
    return (0..<count).map { bytes.span.bytes.bigEndian(UInt64.self, at: $0 * 8) }
  }

  /// Bytes of the file.
  func bytes(at offset: Int, count: Int) async throws(BlockError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var buffer = IOBuffer(byteCount: count)
    var span = buffer.mutableBytes
    try await file.read(ByteRange(offset: offset, count: count), into: &span)
    bytes = span.bytes.toArray()
    return bytes
  }

  /// Overwrites bytes of the file.
  func patch(_ bytes: [UInt8], at offset: Int) async throws(BlockError) {
    try await file.write(ByteRange(offset: offset, count: bytes.count), from: bytes.span.bytes)
  }
}

/// A door and the model of what must be read through it.
struct ModelledDisk {
  let door: BlockBackend
  var model: ModelDisk

  init(_ door: BlockBackend) {
    self.door = door
    model = ModelDisk(length: door.length)
  }

  /// Does `operation` on both; a read is compared.
  ///
  /// Answers the text of a difference, or nil.
  mutating func perform(_ operation: GuestOperation) async throws(BlockError) -> String? {
    let ticket = model.begin(operation)
    switch operation {
    case .write(let range, let number):
      try await door.write(WritePattern.bytes(range, write: number), at: range.lower)
    case .writeZeroes(let range, let mayUnmap):
      try await door.writeZeroes(range, mayUnmap: mayUnmap)
    case .discard(let range): try await door.discard(range)
    case .flush: try await door.flush()
    case .read(let range):
      let bytes = try await door.read(at: range.lower, count: range.count)
      return model.verify(bytes, at: range)?.description
    }
    if case .flush = operation { model.endFlush(ticket) } else { model.end(ticket) }
    return nil
  }

  /// Compares the whole disk.
  func verify() async throws(BlockError) -> String? {
    let bytes = try await door.read(at: 0, count: door.length)
    return model.verify(bytes, at: ByteRange(0, door.length))?.description
  }
}

/// A list of crash points that an observer may add to.
final class CrashPointList: Sendable {
  private let list = Mutex<[CrashPoint]>([])
  var all: [CrashPoint] { list.withLock { $0 } }
  func add(_ point: CrashPoint) { list.withLock { $0.append(point) } }
}
