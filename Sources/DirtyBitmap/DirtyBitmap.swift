public import Primitives
internal import Synchronization

/// A named bitmap of a node: which granules were written since it was last cleared.
///
/// The bits and flags are guarded by one mutex, so that writers may record while others look. What
/// may be done in which state is in `DirtyBitmap+State`; what a job does with a bitmap that it
/// works from, in `DirtyBitmap+Successor`.
///
/// States; edges name functions. A bitmap *records* when it, or its successor, is enabled.
///
///                    enable / disable
///        ┌──────────────────────────────────┐
///        ▼                                  ▼
///     active ─── freeze ──→ frozen      disabled
///        ▲                    │
///        └─ abdicate / reclaim┘
///     active, disabled ── setBusy(true) ──→ locked ── setBusy(false) ──→ as before
///     active, disabled, inconsistent ── beginRemoval ──→ leaving ── cancelRemoval ──→ as before
///     any ── markInconsistent ──→ inconsistent
///
/// *Active*: writes set bits; every operation is allowed. *Disabled*: writes set nothing, the bits
/// stay; every operation is allowed. *Frozen*: a job works from the bits, which nobody may change;
/// writes go to a hidden successor. *Locked*: somebody exports the bits; they go on recording, and
/// nobody may change them otherwise. *Leaving*: likewise, and no image takes it in any more;
/// how a bitmap ends that is removed. *Inconsistent*: the image was not closed by its last writer,
/// the bits are lost; the bitmap can only be removed.
///
/// Invariants
/// 1. A successor exists if and only if the bitmap is frozen; it has the bitmap's size and
///    granularity.
/// 2. While frozen, the bits do not change; `isEnabled` says whether the successor records.
/// 3. An inconsistent bitmap has no set bits, is not enabled, and has no successor.
///
/// Source of names and texts: the QMP schema's `BlockDirtyInfo` and `block-dirty-bitmap-…`.
public final class DirtyBitmap: Sendable {
  struct State {
    var bits: HierarchicalBitmap
    var successor: HierarchicalBitmap?
    var isEnabled: Bool
    var isBusy = false
    var isBeingRemoved = false
    var isPersistent: Bool
    var isReadOnly = false
    var isInconsistent = false
  }

  /// The name, unique on its node; nil for what a job or a filter keeps for itself.
  public let name: String?
  /// The number of bytes that a bit stands for: a power of two.
  public let granularity: Int
  let state: Mutex<State>

  /// Makes an empty bitmap for a node of `size` bytes.
  ///
  /// Throws for an ill-formed name or granularity, and when it would need too many bits.
  public init(
    name: String?, size: Int, granularity: Int, isEnabled: Bool = true, isPersistent: Bool = false
  ) throws(BitmapError) {
    if let name { _ = try BitmapName(name) }
    self.name = name
    self.granularity = granularity
    let bits = try HierarchicalBitmap(size: size, granularity: granularity)
    state = Mutex(State(bits: bits, isEnabled: isEnabled, isPersistent: isPersistent))
  }

  /// Makes a persistent bitmap whose bits an image holds.
  public init(
    name: String, bits: sending HierarchicalBitmap, isEnabled: Bool, isReadOnly: Bool
  ) throws(BitmapError) {
    _ = try BitmapName(name)
    self.name = name
    granularity = bits.granularity
    var initial = State(bits: bits, isEnabled: isEnabled, isPersistent: true)
    initial.isReadOnly = isReadOnly
    state = Mutex(initial)
  }

  /// Makes the inconsistent bitmap that stands for one whose bits an image has lost.
  public init(inconsistent name: String, size: Int, granularity: Int) throws(BitmapError) {
    _ = try BitmapName(name)
    self.name = name
    self.granularity = granularity
    let bits = try HierarchicalBitmap(size: size, granularity: granularity)
    var initial = State(bits: bits, isEnabled: false, isPersistent: true)
    initial.isInconsistent = true
    state = Mutex(initial)
  }

  // MARK: - What it says

  /// The size of the node in bytes.
  public var size: Int { state.withLock { $0.bits.size } }

  /// The number of set bits times the granularity: not clipped to the node's size.
  public var count: Int { state.withLock { $0.bits.dirtyByteCount } }

  /// Whether writes are recorded, here or in the successor's stead.
  public var isEnabled: Bool { state.withLock { $0.isEnabled } }

  /// Whether writes to the node leave a trace: in the bitmap or in its successor.
  public var isRecording: Bool { state.withLock { $0.isEnabled } }

  /// Whether a job or an export uses it.
  public var isBusy: Bool { state.withLock { $0.isBusy } }

  /// Whether it is stored in the node's image.
  public var isPersistent: Bool { state.withLock { $0.isPersistent } }

  /// Whether its image is open read-only.
  public var isReadOnly: Bool { state.withLock { $0.isReadOnly } }

  /// Whether its bits are lost.
  public var isInconsistent: Bool { state.withLock { $0.isInconsistent } }

  /// All that a query tells.
  public var info: BitmapInfo {
    state.withLock { state in
      BitmapInfo(
        name: name, count: state.bits.dirtyByteCount, granularity: granularity,
        isRecording: state.isEnabled, isBusy: state.isBusy, isPersistent: state.isPersistent,
        isInconsistent: state.isInconsistent, hasSuccessor: state.successor != nil)
    }
  }

  /// Looks at the bits; they do not change meanwhile, and must not be changed.
  public func withBits<Result, Failure: Error>(
    _ body: (HierarchicalBitmap) throws(Failure) -> sending Result
  ) throws(Failure) -> sending Result {
    try state.withLock { state throws(Failure) in try body(state.bits) }
  }

  /// Looks at all that is recorded: the bits, and a frozen bitmap's successor, whose bits count
  /// too.
  ///
  /// They do not change meanwhile, and must not be changed.
  public func withRecordedBits<Result, Failure: Error>(
    _ body: (_ bits: HierarchicalBitmap, _ successor: HierarchicalBitmap?) throws(Failure)
      -> sending Result
  ) throws(Failure) -> sending Result {
    try state.withLock { state throws(Failure) in try body(state.bits, state.successor) }
  }

  /// The dirty runs, in order.
  public var runs: [ByteRange] { state.withLock { $0.bits.runs() } }

  // MARK: - What the node does

  /// Sets the granules that `range`, which lies within the node, touches.
  ///
  /// Nothing happens unless the bitmap records.
  public func record(_ range: ByteRange) {
    state.withLock { state in
      guard state.isEnabled else { return }
      (state.successor ?? state.bits).set(range)
    }
  }
}
