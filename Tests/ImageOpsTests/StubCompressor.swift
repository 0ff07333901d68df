import BlockLayer
import Primitives
import Synchronization

/// A disk that takes down which clusters it was asked to compress.
final class StubCompressor: CompressingImage {
  static let clusterSize = 65536
  private let disk: MemoryDriver
  private let state = Mutex<[ByteRange]>([])

  init(length: Int) { disk = MemoryDriver(length: length) }

  var compressed: [ByteRange] { state.withLock { $0 }.sorted { $0.lower < $1.lower } }
  var driverName: String { "stub" }
  var length: Int { disk.length }
  var limits: BlockLimits { BlockLimits(clusterSize: Self.clusterSize) }

  func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError) {
    try await disk.read(range, into: &buffer)
  }

  func write(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    throw BlockError(.io, "a compressed copy has no other writes")
  }

  func writeCompressed(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    state.withLock { $0.append(range) }
    try await disk.write(range, from: bytes)
  }

  func status(_ range: ByteRange) async throws(BlockError) -> BlockStatus {
    try await disk.status(range)
  }
}
