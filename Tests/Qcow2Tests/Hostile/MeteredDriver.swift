import BlockLayer
import Primitives
import Synchronization

/// A file in memory that measures what is asked of it.
///
/// The engine takes memory only for what it reads: the largest read and the sum of all bound it.
final class MeteredDriver: BlockDriver, ResizableImage {
  let below: MemoryDriver
  let largestRead = Atomic<Int>(0)
  let bytesRead = Atomic<Int>(0)
  let changes = Atomic<Int>(0)

  init(_ bytes: [UInt8]) async throws(BlockError) {
    below = MemoryDriver(length: 0, growsOnWrite: true)
    guard !bytes.isEmpty else { return }
    try await below.write(ByteRange(0, bytes.count), from: bytes.span.bytes)
  }

  var driverName: String { "metered" }
  var length: Int { below.length }
  var limits: BlockLimits { below.limits }

  func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError) {
    largestRead.max(range.count, ordering: .relaxed)
    bytesRead.add(range.count, ordering: .relaxed)
    try await below.read(range, into: &buffer)
  }

  func write(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    changes.add(1, ordering: .relaxed)
    try await below.write(range, from: bytes)
  }

  func writeZeroes(_ range: ByteRange, mayUnmap: Bool) async throws(BlockError) {
    changes.add(1, ordering: .relaxed)
    try await below.writeZeroes(range, mayUnmap: mayUnmap)
  }

  func discard(_ range: ByteRange) async throws(BlockError) {
    changes.add(1, ordering: .relaxed)
    try await below.discard(range)
  }

  func resize(to length: Int) async throws(BlockError) {
    changes.add(1, ordering: .relaxed)
    try await below.resize(to: length)
  }

  func status(_ range: ByteRange) async throws(BlockError) -> BlockStatus {
    try await below.status(range)
  }

  var contents: [UInt8] {
    get async throws(BlockError) {
      var buffer = IOBuffer(byteCount: length)
      var bytes = buffer.mutableBytes
      try await below.read(ByteRange(0, bytes.byteCount), into: &bytes)
      return bytes.bytes.toArray()
    }
  }
}
