extension BitmapWords {
  /// The first set granule in `position ..< limit`, or `limit`.
  ///
  /// O(levels), or the number of root words to pass.
  func firstSet(_ position: Int, _ limit: Int) -> Int { first(true, position, limit) }

  /// The first clear granule in `position ..< limit`, or `limit`.
  ///
  /// O(levels), or the number of root words to pass.
  func firstClear(_ position: Int, _ limit: Int) -> Int { first(false, position, limit) }

  /// Descends to the first word that can hold the value and climbs where a word has no more of it.
  ///
  /// By invariant 2 every descent finds the value, unless it starts in the middle of a word.
  @inline(__always)
  private func first(_ value: Bool, _ start: Int, _ limit: Int) -> Int {
    var position = start
    var level = root
    while position < limit {
      let bit = position &>> (6 * level)
      let candidates = candidates(value, level, bit &>> 6) &>> UInt64(bit & 63)
      if candidates != 0 {
        let skip = candidates.trailingZeroBitCount
        let found = bit + skip
        if skip > 0 { position = found &<< (6 * level) }
        if level == 0 || !isMixed(level, found) { return min(position, limit) }
        level -= 1
      } else {
        position = (bit | 63 + 1) &<< (6 * level)
        // The new position starts a word of this level, and perhaps of levels above.
        while level < root {
          level += 1
          if (position &>> (6 * level)) & 63 != 0 { break }
        }
      }
    }
    return limit
  }

  /// The bits of a word below which the value can be found.
  @inline(__always)
  private func candidates(_ value: Bool, _ level: Int, _ word: Int) -> UInt64 {
    if level == 0 { return value ? leaf[word] : ~leaf[word] }
    let summary = levels[level][word]
    return value ? summary.mixed | summary.ones : ~summary.ones
  }

  @inline(__always)
  private func isMixed(_ level: Int, _ bit: Int) -> Bool {
    levels[level][bit &>> 6].mixed & (1 &<< UInt64(bit & 63)) != 0
  }
}
