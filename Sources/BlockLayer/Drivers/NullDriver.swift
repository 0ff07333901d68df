internal import Execution
public import Primitives

/// A disk that keeps nothing, QEMU's `null-co`: writes are lost, reads give zeros.
public final class NullDriver: BlockDriver {
  /// Always `null-co`.
  public var driverName: String { "null-co" }
  /// The size in bytes.
  public let length: Int

  private let readsZeroes: Bool
  private let latencyNanoseconds: UInt64

  /// Makes a disk of `length` bytes, each request of which takes `latencyNanoseconds`.
  ///
  /// `readsZeroes` promises the zeros to block status. Without it they are still what is read, so
  /// that a run repeats, but nobody relies on it.
  ///
  /// Source: the QMP schema's `BlockdevOptionsNull`.
  public init(length: Int = 1 << 30, readsZeroes: Bool = false, latencyNanoseconds: UInt64 = 0) {
    precondition(length >= 0, "a disk has no negative size")
    self.length = length
    self.readsZeroes = readsZeroes
    self.latencyNanoseconds = latencyNanoseconds
  }

  /// Reads zeros.
  public func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError) {
    await delay()
    buffer.fill(with: 0)
  }

  /// Loses the bytes.
  public func write(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    await delay()
  }

  /// Does nothing.
  public func writeZeroes(_ range: ByteRange, mayUnmap: Bool) async throws(BlockError) {
    await delay()
  }

  /// Does nothing.
  public func discard(_ range: ByteRange) async throws(BlockError) { await delay() }

  /// Does nothing.
  public func sync() async throws(BlockError) { await delay() }

  /// All data; zeros too, where they were promised.
  public func status(_ range: ByteRange) async throws(BlockError) -> BlockStatus {
    BlockStatus(
      count: range.count, isAllocated: true, isZero: readsZeroes, isData: !readsZeroes,
      offset: range.lower)
  }

  private func delay() async {
    guard latencyNanoseconds > 0, let world = World.current else { return }
    await world.sleep(nanoseconds: latencyNanoseconds)
  }
}
