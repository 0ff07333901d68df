import BlockLayer
import Primitives
import Synchronization

/// A disk that counts the reads of another, and fails those that touch one place.
final class CountingDriver: BlockDriver {
  let below: MemoryDriver
  let failure: Int?
  let reads = Atomic<Int>(0)
  /// Whether reads fail yet.
  let isArmed = Atomic<Bool>(false)

  init(_ below: MemoryDriver, failingAt failure: Int?) {
    self.below = below
    self.failure = failure
  }

  var driverName: String { "counting" }
  var length: Int { below.length }

  func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError) {
    reads.add(1, ordering: .relaxed)
    if let failure, range.contains(failure), isArmed.load(ordering: .relaxed) {
      throw BlockError(.io, "planted")
    }
    try await below.read(range, into: &buffer)
  }

  func write(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    try await below.write(range, from: bytes)
  }

  func status(_ range: ByteRange) async throws(BlockError) -> BlockStatus {
    try await below.status(range)
  }
}
