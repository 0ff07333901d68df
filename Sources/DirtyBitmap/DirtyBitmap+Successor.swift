public import Primitives
internal import Synchronization

/// What a job does with the bitmap that it works from.
///
/// The job copies what the bitmap marks, while the guest goes on writing. The bits must not change
/// under it, and no write may be forgotten: so writes are recorded in a successor, and the job's
/// end decides which of the two remains.
extension DirtyBitmap {
  /// Freezes the bits and lets a new, empty successor record in their stead.
  ///
  /// A disabled bitmap's successor records nothing.
  public func freeze() throws(BitmapError) {
    try state.withLock { state throws(BitmapError) in
      if state.isBusy { throw .busy(name ?? "") }
      if state.isInconsistent { throw .inconsistent(name ?? "") }
      state.successor = try HierarchicalBitmap(size: state.bits.size, granularity: granularity)
      state.isBusy = true
    }
  }

  /// The job has copied all that was marked: only what was written since it began remains, and
  /// `remaining`, which it has not copied.
  public func abdicate(adding remaining: [ByteRange] = []) {
    state.withLock { state in
      guard let successor = thaw(&state) else { return }
      for range in remaining { successor.set(range) }
      state.bits = successor
    }
  }

  /// The job has not: what was marked and what was written since remain.
  public func reclaim() {
    state.withLock { state in
      guard let successor = thaw(&state) else { return }
      do {
        #if !MUTANT_SUCCESSOR_LOST
        try state.bits.merge(successor)
        #endif
      } catch {
        preconditionFailure("a successor has its bitmap's size: \(error)")
      }
    }
  }

  /// The successor, which ends; nil when the bitmap became inconsistent under the job.
  private func thaw(_ state: inout State) -> HierarchicalBitmap? {
    precondition(
      state.successor != nil || state.isInconsistent && state.isBusy,
      "a bitmap abdicates or is reclaimed after it was frozen")
    let successor = state.successor
    state.successor = nil
    state.isBusy = false
    return successor
  }

  /// What a query shows of the successor, which has no name; nil when there is none.
  public var successorInfo: BitmapInfo? {
    state.withLock { state in
      guard let successor = state.successor else { return nil }
      return BitmapInfo(
        name: nil, count: successor.dirtyByteCount, granularity: granularity,
        isRecording: state.isEnabled, isBusy: false, isPersistent: false, isInconsistent: false,
        hasSuccessor: false)
    }
  }
}
