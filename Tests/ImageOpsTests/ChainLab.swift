import BlockLayer
import BlockTestKit
import DirtyBitmap
import Execution
import Lamina
import Primitives
import Qcow2
import Synchronization

/// Images in memory, and backing chains of them, in a World of their own.
final class ChainLab: Sendable {
  let seed: UInt64
  let world: World
  let graph: BlockGraph
  private let writes = Mutex(0)

  init(seed: UInt64) {
    self.seed = seed
    world = World.simulated(seed: seed)
    graph = BlockGraph(world: world, policy: .none)
  }

  /// A new qcow2 image, open for writing.
  func image(
    length: Int, clusterSize: Int = 65536, version: FormatVersion = .v3,
    backing: BlockNode? = nil, file: BlockNode? = nil
  ) async throws -> BlockNode {
    var options = NewImageOptions(virtualSize: length)
    options.clusterSize = clusterSize
    options.version = version
    if backing != nil {
      options.backingFileName = EmbeddedName(bytes: Array("below".utf8))
      options.backingFormat = EmbeddedName(bytes: Array("raw".utf8))
    }
    let file = try file ?? newFile()
    try await Qcow2Driver.create(options, in: file)
    return try await open(file, backing: backing)
  }

  /// An empty file, which grows.
  func newFile() throws -> BlockNode {
    try graph.addNode(
      MemoryDriver(length: 0, growsOnWrite: true), options: NodeOptions(discard: .unmap))
  }

  /// A disk of bytes without a format.
  func disk(length: Int) throws -> BlockNode { try graph.addNode(MemoryDriver(length: length)) }

  /// The image in `file`.
  func open(_ file: BlockNode, backing: BlockNode?, readOnly: Bool = false) async throws
    -> BlockNode
  {
    var options = OpenOptions(format: "qcow2", readOnly: readOnly, discard: .unmap)
    options.backing = backing.map { .node($0) } ?? .ignore
    return try await graph.open(file: file, options)
  }

  /// Closes the image; its file stays.
  func file(closing image: BlockNode) async throws -> BlockNode {
    guard let file = image.primary else { throw BlockError(.notFound, "an image has a file") }
    let hold = try BlockEdge(.root, to: file, user: "the lab")
    let below = image.backing
    let belowHold = try below.map { try BlockEdge(.root, to: $0, user: "the lab") }
    try await graph.close(image)
    hold.detach()
    belowHold?.detach()
    return file
  }

  /// Writes data that looks like no other to `range`.
  func write(_ node: BlockNode, _ range: ByteRange) async throws {
    let number = writes.withLock { count in
      count += 1
      return count
    }
    let bytes = WritePattern.bytes(range, write: number)
    try await node.write(range, from: bytes.span.bytes)
  }

  /// Some writes and zeroes at random.
  func scribble(_ node: BlockNode, count: Int, _ random: inout SeededGenerator) async throws {
    for _ in 0..<count {
      let start = Int.random(in: 0..<node.length / 512, using: &random) * 512
      let longest = [512, 4096, 70_000, 300_000].randomElement(using: &random) ?? 512
      let end = min(node.length, start + Int.random(in: 1...longest, using: &random))
      let range = ByteRange(start, end)
      switch Int.random(in: 0..<6, using: &random) {
      case 0: try await node.writeZeroes(range, mayUnmap: Bool.random(using: &random))
      case 1:
        let zeros = [UInt8](repeating: 0, count: range.count)
        try await node.write(range, from: zeros.span.bytes)
      default: try await write(node, range)
      }
    }
  }

  /// A chain of one to four layers of any lengths, and cluster sizes; the top is writable.
  func randomChain(_ random: inout SeededGenerator) async throws -> BlockNode {
    var layer: BlockNode?
    if Bool.random(using: &random) {
      let raw = try disk(length: randomLength(&random))
      try await scribble(raw, count: 6, &random)
      layer = raw
    }
    for _ in 0...Int.random(in: 0...2, using: &random) {
      let image = try await image(
        length: randomLength(&random), clusterSize: randomClusterSize(&random),
        version: Int.random(in: 0..<4, using: &random) == 0 ? .v2 : .v3, backing: layer)
      try await scribble(image, count: Int.random(in: 0...8, using: &random), &random)
      layer = image
    }
    guard let layer else { throw BlockError(.notFound, "a chain has a layer") }
    return layer
  }

  func randomLength(_ random: inout SeededGenerator) -> Int {
    Int.random(in: 1...2000, using: &random) * 512
  }

  func randomClusterSize(_ random: inout SeededGenerator) -> Int {
    [512, 1024, 4096, 65536, 65536, 1 << 20].randomElement(using: &random) ?? 65536
  }

  /// All that the node shows.
  func contents(_ node: BlockNode, length: Int? = nil) async throws -> [UInt8] {
    let length = length ?? node.length
    var buffer = IOBuffer(byteCount: length)
    var bytes = buffer.mutableBytes
    try await node.read(ByteRange(0, length), into: &bytes)
    return bytes.bytes.toArray()
  }

  /// The corruptions and leaks of a qcow2 image, once it is written back.
  func findings(_ node: BlockNode) async throws -> [String] {
    try await node.flush()
    guard let image = node.driver as? any CheckableImage else { return [] }
    return try await image.check().findings.map(\.message)
  }

  /// The layers that decide the runs of the node, and whether they are zero.
  func allocatedBytes(_ node: BlockNode) async throws -> Int {
    var count = 0
    for entry in try await node.map() where entry.depth == 0 && entry.isPresent && entry.isData {
      count += entry.length
    }
    return count
  }
}

extension [UInt8] {
  /// The first byte that differs, with zeros behind the shorter one.
  func firstDifference(from other: [UInt8]) -> Int? {
    if self == other { return nil }
    for index in 0..<Swift.max(count, other.count) {
      let left = index < count ? self[index] : 0
      let right = index < other.count ? other[index] : 0
      if left != right { return index }
    }
    return nil
  }
}
