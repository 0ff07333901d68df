public import BlockLayer
internal import Execution
public import Primitives
internal import Synchronization

/// The operations of a simulated disk, each in the same steps: a scheduling point, submission, the
/// time it takes or another scheduling point, completion.
extension SimulatedDisk {
  /// Reads the bytes of `range`; zeros beyond the end.
  public func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError) {
    let submission = await submit(.read, range)
    try finish(submission, .read, range)
    visibleImage.read(range, into: &buffer)
  }

  /// Writes the bytes of `range`.
  ///
  /// Where a fault or a full disk stops it, the sectors before that place are written and those
  /// after it may be.
  public func write(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    let change = DiskChange(writing: bytes.toArray(), at: range)
    let submission = await submit(.write, range, change)
    try finish(submission, .write, range)
  }

  /// Makes `range` read as zeros and gives up whole blocks of it.
  public func writeZeroes(_ range: ByteRange, mayUnmap: Bool) async throws(BlockError) {
    let submission = await submit(.writeZeroes, range, DiskChange(.writeZeroes, range))
    try finish(submission, .writeZeroes, range)
  }

  /// Punches a hole: `range` reads as zeros.
  public func discard(_ range: ByteRange) async throws(BlockError) {
    let submission = await submit(.discard, range, DiskChange(.discard, range))
    try finish(submission, .discard, range)
  }

  /// Makes the file long enough; what is new reads as zeros.
  ///
  /// No space is counted.
  public func reserveSpace(_ range: ByteRange) async throws(BlockError) {
    if range.upper > length { try await resize(to: range.upper) }
  }

  /// Gives the file another length.
  public func resize(to length: Int) async throws(BlockError) {
    let change = DiskChange(from: self.length, toLength: length)
    let submission = await submit(.resize, change.range, change)
    try finish(submission, .resize, change.range)
  }

  /// Makes durable what has completed before.
  public func sync() async throws(BlockError) {
    let everything = ByteRange(0, 0)
    let submission = await submit(.sync, everything)
    try finish(submission, .sync, everything)
  }

  /// Allocated blocks are data, the others zeros; all stand where they are.
  public func status(_ range: ByteRange) async throws(BlockError) -> BlockStatus {
    await schedulingPoint()
    let (isAllocated, count) = visibleImage.run(range)
    return BlockStatus(
      count: count, isAllocated: true, isZero: !isAllocated, isData: isAllocated,
      offset: range.lower)
  }

  // MARK: - Steps

  private func submit(
    _ operation: DiskOperation, _ range: ByteRange, _ change: DiskChange? = nil
  ) async -> Submission {
    await schedulingPoint()
    let submission = state.withLock { $0.submit(operation, range, change) }
    notify(operation, .submitted)
    if hasSchedulingPoints {
      if submission.nanoseconds > 0 { await world.sleep(nanoseconds: submission.nanoseconds) }
      await world.yield()
    }
    notify(operation, .completing)
    return submission
  }

  private func finish(
    _ submission: Submission, _ operation: DiskOperation, _ range: ByteRange
  ) throws(BlockError) {
    state.withLock { $0.complete(submission, operation) }
    notify(operation, submission.errno == nil ? .completed : .failed)
    if let errno = submission.errno {
      throw BlockError.host(errno, "simulated disk, \(operation)", range: range)
    }
  }

  private func schedulingPoint() async {
    if hasSchedulingPoints { await world.yield() }
  }

  private func notify(_ operation: DiskOperation, _ phase: Phase) {
    let observer = state.withLock { $0.observer }
    observer?(operation, phase)
  }
}
