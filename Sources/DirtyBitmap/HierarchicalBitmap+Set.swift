public import Primitives

/// Setting, clearing, asking.
extension HierarchicalBitmap {
  /// Sets every granule that shares a byte with `range`.
  ///
  /// What lies beyond the size is ignored; an empty range sets nothing. O(levels) amortised.
  public func set(_ range: ByteRange) {
    let upper = min(range.upper, size)
    guard range.lower < upper else { return }
    let first = range.lower &>> shift
    let last = (upper - 1) &>> shift
    let word = first &>> 6
    if word == last &>> 6 {
      words.setInWord(word, BitmapWords.mask(first & 63, last & 63 + 1))
    } else {
      words.assign(true, first, last + 1)
    }
  }

  /// Clears every granule that lies wholly in `range`; the last granule of the disk does when its
  /// part before the size does.
  ///
  /// What lies beyond the size is ignored. O(levels) amortised.
  public func reset(_ range: ByteRange) {
    let granules = granulesInside(range)
    words.assign(false, granules.lower, granules.upper)
  }

  /// Sets every granule.
  ///
  /// O(1).
  public func setAll() { words.assignAll(true) }

  /// Clears every granule.
  ///
  /// O(1); memory that was written stays with the bitmap.
  public func resetAll() { words.assignAll(false) }

  /// Whether the granule of the byte at `offset` is set; false beyond the size.
  ///
  /// O(levels).
  public func contains(_ offset: Int) -> Bool {
    guard offset >= 0, offset < size else { return false }
    return words.contains(offset &>> shift)
  }

  /// The granules that share a byte with `range`, clipped to the size.
  func granulesTouching(_ range: ByteRange) -> (lower: Int, upper: Int) {
    let upper = min(range.upper, size)
    guard range.lower < upper else { return (0, 0) }
    return (range.lower &>> shift, (upper - 1) &>> shift + 1)
  }

  /// The granules wholly inside `range`, the last one of the disk as far as the size.
  func granulesInside(_ range: ByteRange) -> (lower: Int, upper: Int) {
    guard range.lower < size else { return (0, 0) }
    let lower = range.lower.dividedRoundingUp(by: granularity)
    let upper = range.upper >= size ? granuleCount : range.upper &>> shift
    return lower < upper ? (lower, upper) : (0, 0)
  }

  /// The bytes of granules, clipped to the size.
  ///
  /// Correct where the last one ends beyond `Int.max`.
  func bytes(_ lower: Int, _ upper: Int) -> ByteRange {
    ByteRange(lower &<< shift, upper == granuleCount ? size : upper &<< shift)
  }
}
