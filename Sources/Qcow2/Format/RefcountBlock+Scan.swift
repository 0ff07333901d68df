internal import Primitives

/// Scans, a 64-bit word at a time. Blocks are whole clusters, so a multiple of 8 bytes; indices are
/// of entries.
extension RefcountBlock {
  /// The first entry of `range` that is zero, or nil.
  ///
  /// O(entries × width / 64).
  public func firstZero(in block: RawSpan, range: Range<Int>) -> Int? {
    // An entry's top bit survives in `sum | word` exactly when the entry is not zero: adding all
    // ones below the top bit carries into it, and never into the next entry.
    let high = topBits
    return scan(block, range) { word in ~((word & ~high) &+ ~high | word) & high }
  }

  /// The first entry of `range` that is not zero, or nil.
  ///
  /// O(entries × width / 64).
  public func firstNonzero(in block: RawSpan, range: Range<Int>) -> Int? {
    scan(block, range) { word in word }
  }

  /// The last entry of `range` that is not zero, or nil.
  ///
  /// O(entries × width / 64).
  public func lastNonzero(in block: RawSpan, range: Range<Int>) -> Int? {
    checkBounds(block, range)
    guard !range.isEmpty else { return nil }
    let first = wordIndex(range.lowerBound)
    var index = wordIndex(range.upperBound - 1)
    var word = loadWord(block, index) & maskBelow(lane(range.upperBound - 1) + (1 << order))
    while true {
      if index == first { word &= ~maskBelow(lane(range.lowerBound)) }
      if word != 0 { return entry(index, bit: 63 - word.leadingZeroBitCount) }
      if index == first { return nil }
      index -= 1
      word = loadWord(block, index)
    }
  }

  /// The first run of at least `count` zero entries inside `range`, or nil: the entries of the
  /// whole run, cut at the range's end.
  ///
  /// A shorter run that touches the end of the range is not found; `zeroTail` finds it.
  public func firstZeroRun(
    of count: Int, in block: RawSpan, range: Range<Int>
  ) -> Range<Int>? {
    precondition(count > 0, "a run has at least an entry")
    var position = range.lowerBound
    while range.upperBound - position >= count {
      let rest = position..<range.upperBound
      guard let start = firstZero(in: block, range: rest) else { return nil }
      let end = zeroRunEnd(in: block, range: start..<range.upperBound)
      if end - start >= count { return start..<end }
      position = end
    }
    return nil
  }

  /// The end of the run of zero entries at the start of `range`; its start when the first entry is
  /// not zero.
  public func zeroRunEnd(in block: RawSpan, range: Range<Int>) -> Int {
    firstNonzero(in: block, range: range) ?? range.upperBound
  }

  /// The start of the run of zero entries at the end of `range`; its end when the last entry is not
  /// zero.
  public func zeroTail(in block: RawSpan, range: Range<Int>) -> Int {
    lastNonzero(in: block, range: range).map { $0 + 1 } ?? range.lowerBound
  }

  /// The number of entries of `range` that are not zero.
  public func nonzeroCount(in block: RawSpan, range: Range<Int>) -> Int {
    var count = 0
    var position = range.lowerBound
    while position < range.upperBound {
      let start = zeroRunEnd(in: block, range: position..<range.upperBound)
      position = firstZero(in: block, range: start..<range.upperBound) ?? range.upperBound
      count += position - start
    }
    return count
  }
}

extension RefcountBlock {
  /// The most significant bit of every entry of a word.
  private var topBits: UInt64 { (UInt64.max / maximum) << UInt64((1 << order) - 1) }

  private func wordIndex(_ entry: Int) -> Int { (entry << order) >> 6 }

  private func lane(_ entry: Int) -> Int { (entry << order) & 63 }

  private func entry(_ word: Int, bit: Int) -> Int { ((word << 6) + bit) >> order }

  private func loadWord(_ block: RawSpan, _ index: Int) -> UInt64 {
    block.littleEndian(UInt64.self, at: index << 3)
  }

  /// The bits below `bit`, 0 to 64.
  private func maskBelow(_ bit: Int) -> UInt64 {
    bit >= 64 ? .max : (1 << UInt64(bit)) - 1
  }

  private func checkBounds(_ block: RawSpan, _ range: Range<Int>) {
    precondition(
      range.lowerBound >= 0 && range.upperBound <= entryCount(byteCount: block.byteCount),
      "a range of refcounts beyond its block")
  }

  /// The first entry of `range` in whose bits of a word `test` leaves one set.
  @inline(__always)
  private func scan(
    _ block: RawSpan, _ range: Range<Int>, _ test: (UInt64) -> UInt64
  ) -> Int? {
    checkBounds(block, range)
    guard !range.isEmpty else { return nil }
    let end = wordIndex(range.upperBound - 1) + 1
    var index = wordIndex(range.lowerBound)
    var found = test(loadWord(block, index)) & ~maskBelow(lane(range.lowerBound))
    while found == 0 {
      index += 1
      if index == end { return nil }
      found = test(loadWord(block, index))
    }
    let result = entry(index, bit: found.trailingZeroBitCount)
    return result < range.upperBound ? result : nil
  }
}
