internal import Synchronization

/// What a transaction keeps of a bitmap that it changes, in case it fails.
///
/// The node is drained from the saving to the restoring, so that no write is forgotten.
extension DirtyBitmap {
  /// Bits that were set aside; they can be taken back once.
  public final class SavedBits: Sendable {
    private let bits: Mutex<HierarchicalBitmap?>

    fileprivate init(_ bits: sending HierarchicalBitmap) { self.bits = Mutex(bits) }

    fileprivate func take() -> Moved? {
      bits.withLock { bits in
        defer { bits = nil }
        return bits.map { Moved($0) }
      }
    }
  }

  /// Bits on their way from one lock to another; nobody else has them.
  fileprivate struct Moved: @unchecked Sendable {
    let bits: HierarchicalBitmap
    init(_ bits: HierarchicalBitmap) { self.bits = bits }
  }

  /// A copy of the bits as they are.
  public func saveBits() throws(BitmapError) -> SavedBits { SavedBits(try copyBits()) }

  /// Clears all bits, like `clear()`, and sets the old ones aside.
  ///
  /// O(1) but for the new bits' memory.
  public func clearSavingBits() throws(BitmapError) -> SavedBits {
    let old = try state.withLock { state throws(BitmapError) in
      if state.isBusy { throw .busy(name ?? "") }
      if state.isReadOnly { throw .readOnly(name ?? "") }
      if state.isInconsistent { throw .inconsistent(name ?? "") }
      let empty = try HierarchicalBitmap(size: state.bits.size, granularity: granularity)
      defer { state.bits = empty }
      return Moved(state.bits)
    }
    return SavedBits(old.bits)
  }

  /// Takes back what was set aside; the second time nothing happens.
  ///
  /// Bits that cannot follow a node's new length are lost, and the bitmap says so.
  public func restore(_ saved: SavedBits) {
    guard let old = saved.take() else { return }
    let isRestored = state.withLock { state in
      guard !state.isInconsistent else { return true }
      do {
        if old.bits.size != state.bits.size { try old.bits.resize(to: state.bits.size) }
      } catch {
        return false
      }
      state.bits = old.bits
      return true
    }
    if !isRestored { markInconsistent() }
  }

  /// Lets writes be recorded, or not, as before a change that is undone.
  public func restore(isEnabled: Bool) {
    state.withLock { state in if !state.isInconsistent { state.isEnabled = isEnabled } }
  }

  /// Claims the bitmap for its removal: nobody else may use it, and no image takes it in; it goes
  /// on recording.
  ///
  /// Throws unless it may be removed; an inconsistent one may.
  public func beginRemoval() throws(BitmapError) {
    try state.withLock { state throws(BitmapError) in
      if state.isBusy { throw .busy(name ?? "") }
      if state.isReadOnly { throw .readOnly(name ?? "") }
      state.isBusy = true
      state.isBeingRemoved = true
    }
  }

  /// Gives a bitmap back that is not removed after all.
  public func cancelRemoval() {
    state.withLock { state in
      state.isBusy = false
      state.isBeingRemoved = false
    }
  }

  /// Whether its removal has begun; it stays so when it is removed.
  public var isBeingRemoved: Bool { state.withLock { $0.isBeingRemoved } }
}
