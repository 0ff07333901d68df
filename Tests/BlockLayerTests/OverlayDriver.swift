import BlockLayer
import Execution
import Primitives
import Synchronization
import SystemPackage
import Testing

/// A toy format: sectors of 512 bytes that are its own or show the backing node's.
///
/// Its file is a text: `OVERLAY`, the size, and the backing file's name and format, one a line. The
/// contents stay in memory.
final class OverlayDriver: BackingFileImage {
  let file: BlockEdge?
  let backing: BlockEdge?
  let recordedBacking: RecordedBacking?
  let length: Int
  private let memory: MemoryDriver
  private let owned = Mutex<Set<Int>>([])

  var driverName: String { "overlay" }
  var limits: BlockLimits { BlockLimits(requestAlignment: 512, clusterSize: 512) }
  var children: [BlockEdge] { [file, backing].compactMap { $0 } }

  init(length: Int = 4096, file: BlockNode? = nil, over backing: BlockNode? = nil)
    throws(BlockError)
  {
    self.file = try file.map { node throws(BlockError) in try BlockEdge(.file, to: node) }
    self.length = length
    recordedBacking = nil
    memory = MemoryDriver(length: length)
    self.backing = try backing.map { node throws(BlockError) in try BlockEdge(.backing, to: node) }
  }

  init(_ node: BlockNode, _ context: OpenContext) async throws(BlockError) {
    var buffer = IOBuffer(byteCount: 512)
    var bytes = buffer.mutableBytes
    try await node.read(ByteRange(0, 512), into: &bytes)
    let text = String(decoding: bytes.bytes.toArray().prefix { $0 != 0 }, as: UTF8.self)
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    guard lines.count >= 4, lines[0] == "OVERLAY", let size = Int(lines[1]) else {
      throw BlockError(.invalidImage, "Image is not in overlay format")
    }
    length = size
    memory = MemoryDriver(length: size)
    let named = RecordedBacking(name: lines[2], format: lines[3].isEmpty ? nil : lines[3])
    recordedBacking = lines[2].isEmpty ? nil : named
    let below: BlockNode?
    if let recordedBacking {
      below = try await context.openBacking(recordedBacking)
    } else {
      below = nil
    }
    file = try BlockEdge(.file, to: node)
    backing = try below.map { node throws(BlockError) in try BlockEdge(.backing, to: node) }
    if lines.count > 4, lines[4] == "broken" {
      throw BlockError(.corrupt, "the overlay is broken")
    }
  }

  /// The text of such an image.
  static func image(
    size: Int = 4096, backing: String = "", format: String = "", broken: Bool = false
  )
    -> [UInt8]
  {
    Array("OVERLAY\n\(size)\n\(backing)\n\(format)\(broken ? "\nbroken" : "")\n".utf8)
  }

  func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError) {
    for offset in stride(from: range.lower, to: range.upper, by: 512) {
      let sector = ByteRange(offset, min(offset + 512, range.upper))
      var part = buffer.slice(sector.relative(to: range.lower))
      if owned.withLock({ $0.contains(offset) }) {
        try await memory.read(sector, into: &part)
      } else if let backing {
        try await backing.node.read(sector, into: &part)
      } else {
        part.fill(with: 0)
      }
    }
  }

  func write(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    try await memory.write(range, from: bytes)
    owned.withLock { $0.formUnion(stride(from: range.lower, to: range.upper, by: 512)) }
  }

  func recordBacking(_ backing: RecordedBacking?) async throws(BlockError) {
    throw BlockError(.unsupported, "a toy")
  }

  func status(_ range: ByteRange) async throws(BlockError) -> BlockStatus {
    owned.withLock { owned in
      let first = range.lower.roundedDown(to: 512)
      let isOwned = owned.contains(first)
      var end = first
      while end < range.upper, owned.contains(end) == isOwned { end += 512 }
      let count = min(end, range.upper) - range.lower
      return BlockStatus(
        count: count, isAllocated: isOwned, isData: isOwned, offset: isOwned ? range.lower : nil)
    }
  }
}

extension DriverRegistry {
  /// The base registry with the toy format.
  static let withOverlay: DriverRegistry = {
    var registry = DriverRegistry.base
    registry.addFormat(
      "overlay",
      recognises: {
        $0.byteCount > 7 && $0.slice(ByteRange(0, 7)).toArray() == Array("OVERLAY".utf8)
      }
    ) { file, context throws(BlockError) in try await OverlayDriver(file, context) }
    return registry
  }()
}
