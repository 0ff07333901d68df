internal import Synchronization

/// What may be done with a bitmap, and what that does. Checks go in the order busy, read-only,
/// inconsistent; the first that fails is the error.
extension DirtyBitmap {
  private var label: String { name ?? "" }

  private func check(
    _ state: borrowing State, readOnlyIsFine: Bool = false, inconsistentIsFine: Bool = false
  ) throws(BitmapError) {
    if state.isBusy { throw .busy(label) }
    if state.isReadOnly, !readOnlyIsFine { throw .readOnly(label) }
    if state.isInconsistent, !inconsistentIsFine { throw .inconsistent(label) }
  }

  /// Throws unless a job may work from the bitmap, or another be merged from it.
  public func checkUsable() throws(BitmapError) {
    try state.withLock { state throws(BitmapError) in try check(state, readOnlyIsFine: true) }
  }

  /// Throws unless its bits may be changed.
  public func checkModifiable() throws(BitmapError) {
    try state.withLock { state throws(BitmapError) in try check(state) }
  }

  /// Throws unless it may be removed; an inconsistent one may.
  public func checkRemovable() throws(BitmapError) {
    try state.withLock { state throws(BitmapError) in try check(state, inconsistentIsFine: true) }
  }

  /// Throws unless its node may change its length.
  public func checkResizable(to size: Int) throws(BitmapError) {
    try state.withLock { state throws(BitmapError) in
      try check(state, readOnlyIsFine: true)
      // Whether the new size can be had at all is told before anything changes.
      _ = try HierarchicalBitmap(size: size, granularity: granularity)
    }
  }

  /// Clears all bits and gives their memory back; whether it records stays as it is.
  public func clear() throws(BitmapError) {
    try state.withLock { state throws(BitmapError) in
      try check(state)
      state.bits = try HierarchicalBitmap(size: state.bits.size, granularity: granularity)
    }
  }

  /// Lets writes be recorded.
  ///
  /// Allowed on a read-only image too, and when they are already.
  public func enable() throws(BitmapError) { try setEnabled(true) }

  /// Lets writes pass unrecorded.
  ///
  /// Allowed on a read-only image too, and when they do already.
  public func disable() throws(BitmapError) { try setEnabled(false) }

  private func setEnabled(_ isEnabled: Bool) throws(BitmapError) {
    try state.withLock { state throws(BitmapError) in
      try check(state, readOnlyIsFine: true)
      state.isEnabled = isEnabled
    }
  }

  /// Sets every bit that `source`, of the same size, has set; granularities may differ.
  ///
  /// O(dirty words of the source) where granularities agree. A bitmap merged into itself stays.
  public func merge(_ source: DirtyBitmap) throws(BitmapError) {
    try checkModifiable()
    try source.checkUsable()
    if source === self { return }
    // A copy, so that two bitmaps' locks are never held at once.
    let bits = try source.state.withLock { state throws(BitmapError) in
      Transfer(try state.bits.copy())
    }
    try state.withLock { state throws(BitmapError) in
      try check(state)
      try state.bits.merge(bits.bits)
    }
  }

  /// Replaces all bits by those of `saved`: what a transaction that fails does.
  ///
  /// The node is drained from the copy to this, so that no write is forgotten. Throws when `saved`
  /// is not of this bitmap's size and granularity.
  public func restore(_ saved: sending HierarchicalBitmap) throws(BitmapError) {
    let saved = Transfer(saved)
    try state.withLock { state throws(BitmapError) in
      guard saved.bits.size == state.bits.size else {
        throw .differentSizes(destination: state.bits.size, source: saved.bits.size)
      }
      if saved.bits.granularity != granularity { throw .invalidGranularity }
      state.bits = saved.bits
    }
  }

  /// A copy of the bits as they are: what a transaction keeps in case it fails.
  public func copyBits() throws(BitmapError) -> sending HierarchicalBitmap {
    let copy = try state.withLock { state throws(BitmapError) in Transfer(try state.bits.copy()) }
    return copy.bits
  }

  /// Gives it the node's new length.
  ///
  /// Growth adds clean granules; shrinking drops those wholly beyond the end. A successor follows,
  /// or nothing changes.
  public func resize(to size: Int) throws(BitmapError) {
    try state.withLock { state throws(BitmapError) in
      let successor = try state.successor?.copy()
      try successor?.resize(to: size)
      try state.bits.resize(to: size)
      state.successor = successor
    }
  }

  /// Claims the bitmap for an export, or gives it back.
  ///
  /// It goes on recording. A job's bitmap is given back by `abdicate` or `reclaim` alone.
  public func setBusy(_ isBusy: Bool) throws(BitmapError) {
    try state.withLock { state throws(BitmapError) in
      if isBusy { try check(state, readOnlyIsFine: true) }
      precondition(state.successor == nil, "a frozen bitmap is given back by its job")
      state.isBusy = isBusy
    }
  }

  /// Tells whether its image may be written.
  public func setReadOnly(_ isReadOnly: Bool) { state.withLock { $0.isReadOnly = isReadOnly } }

  /// Gives the bits up for lost: it has missed a change.
  ///
  /// A job that has it frozen keeps it busy until it abdicates or reclaims.
  public func markInconsistent() {
    state.withLock { state in
      state.bits.resetAll()
      state.successor = nil
      state.isEnabled = false
      state.isInconsistent = true
    }
  }
}

/// Bits on their way from one lock to another.
///
/// Nobody else has them.
private struct Transfer: @unchecked Sendable {
  let bits: HierarchicalBitmap
  init(_ bits: HierarchicalBitmap) { self.bits = bits }
}
