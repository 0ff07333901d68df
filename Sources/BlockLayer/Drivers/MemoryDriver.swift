public import Primitives
internal import Synchronization

/// A sparse disk in memory: chunks of 64 KiB, of which only those with a nonzero byte are kept.
///
/// With `growsOnWrite` it stands in for a host file under a format; without, for a guest's disk.
/// Zeroing, discarding and shrinking give memory back. Lookup is O(log chunks), the first write to
/// a chunk O(chunks) with a small factor.
public final class MemoryDriver: BlockDriver {
  /// Always `memory`.
  public var driverName: String { "memory" }
  /// Requests of any shape.
  public let limits: BlockLimits

  private struct State: ~Copyable {
    var chunks = MemoryChunks()
    var length: Int
  }
  private let state: Mutex<State>

  /// Makes a disk of `length` bytes of zeros.
  public init(length: Int, growsOnWrite: Bool = false) {
    precondition(length >= 0, "a disk has no negative size")
    limits = BlockLimits(growsOnWrite: growsOnWrite)
    state = Mutex(State(length: length))
  }

  /// The size in bytes.
  public var length: Int { state.withLock { $0.length } }

  /// The memory that the contents take, in bytes.
  public var allocatedBytes: Int { state.withLock { $0.chunks.byteCount } }

  /// Reads; what was never written is zeros.
  public func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError) {
    state.withLock { state in state.chunks.read(range, into: &buffer) }
  }

  /// Writes, and grows the disk if it may.
  public func write(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    state.withLock { state in
      state.chunks.write(range, from: bytes)
      state.length = max(state.length, range.upper)
    }
  }

  /// Zeroes; whole chunks are given back whether or not it is asked for.
  public func writeZeroes(_ range: ByteRange, mayUnmap: Bool) async throws(BlockError) {
    state.withLock { state in
      state.chunks.zero(range)
      state.length = max(state.length, range.upper)
    }
  }

  /// Zeroes.
  public func discard(_ range: ByteRange) async throws(BlockError) {
    state.withLock { state in state.chunks.zero(range) }
  }

  /// Chunks that are kept are data, all else is a hole.
  public func status(_ range: ByteRange) async throws(BlockError) -> BlockStatus {
    let run = state.withLock { state in state.chunks.run(range) }
    return BlockStatus(
      count: run.count, isAllocated: true, isZero: !run.isData, isData: run.isData,
      offset: range.lower)
  }
}

extension MemoryDriver: ResizableImage {
  /// Makes the disk longer or shorter; what was cut off reads as zeros if it comes back.
  public func resize(to length: Int) async throws(BlockError) {
    state.withLock { state in
      if length < state.length { state.chunks.zero(ByteRange(length, state.length)) }
      state.length = length
    }
  }
}

extension MemoryDriver: SpaceReserving {
  /// Makes the disk long enough: memory is taken when data comes.
  public func reserveSpace(_ range: ByteRange) async throws(BlockError) {
    state.withLock { $0.length = max($0.length, range.upper) }
  }
}
