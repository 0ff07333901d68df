public import Primitives

/// The next few dozen runs of an enumeration: what crosses the module's bound in one call.
///
/// The runs lie in memory of their own: an `InlineArray` would be copied for each that is read.
@usableFromInline
struct RunBatch: ~Copyable {
  private static let capacity = 512

  /// Pairs of a lower and an upper bound, in bytes.
  @usableFromInline let boundaries: UnsafeMutablePointer<Int>
  @usableFromInline var count = 0
  private var scan: RunScan
  private let gathered: UnsafeMutablePointer<UInt64>
  private let bitmap: HierarchicalBitmap
  private let window: ByteRange

  @usableFromInline
  init(_ bitmap: HierarchicalBitmap, in window: ByteRange) {
    boundaries = .allocate(capacity: RunBatch.capacity)
    gathered = .allocate(capacity: GatheredWords.capacity)
    let granules = bitmap.granulesTouching(window)
    scan = RunScan(
      granules.lower, granules.upper, shift: bitmap.shift, boundaries, capacity: RunBatch.capacity,
      GatheredWords(gathered))
    self.bitmap = bitmap
    self.window = window.intersection(bitmap.bounds)
  }

  @usableFromInline
  deinit {
    boundaries.deallocate()
    gathered.deallocate()
  }

  @inlinable
  subscript(index: Int) -> ByteRange { ByteRange(boundaries[2 * index], boundaries[2 * index + 1]) }

  /// Finds the next runs; false when there are no more.
  @usableFromInline
  mutating func fill() -> Bool {
    count = scan.fill(bitmap.words)
    guard count > 0 else { return false }
    // The first run of all and the last may reach out of the window. An upper bound of 2^63 has
    // wrapped around: compared without a sign it is still the larger one.
    boundaries[0] = max(boundaries[0], window.lower)
    let last = 2 * count - 1
    boundaries[last] = Int(min(UInt(bitPattern: boundaries[last]), UInt(window.upper)))
    return true
  }
}
