public import Primitives

/// Looking for bits, and enumerating runs. Windows are clipped to the size.
extension HierarchicalBitmap {
  /// The first byte of `window` that lies in a set granule, or nil.
  ///
  /// O(levels).
  public func nextDirty(in window: ByteRange) -> Int? {
    let granules = granulesTouching(window)
    let found = words.firstSet(granules.lower, granules.upper)
    return found < granules.upper ? max(found &<< shift, window.lower) : nil
  }

  /// The first byte of `window` that lies in a clear granule, or nil.
  ///
  /// O(levels).
  public func nextClear(in window: ByteRange) -> Int? {
    let granules = granulesTouching(window)
    let found = words.firstClear(granules.lower, granules.upper)
    return found < granules.upper ? max(found &<< shift, window.lower) : nil
  }

  /// The first run of bytes in set granules, clipped to `window` and to `maxLength` bytes (above
  /// zero), or nil when there is none.
  ///
  /// O(levels).
  public func nextRun(in window: ByteRange, maxLength: Int = .max) -> ByteRange? {
    nextRun(true, window, maxLength)
  }

  /// The first run of bytes in clear granules, clipped to `window` and to `maxLength` bytes (above
  /// zero), or nil when there is none.
  ///
  /// O(levels).
  public func nextClearRun(in window: ByteRange, maxLength: Int = .max) -> ByteRange? {
    nextRun(false, window, maxLength)
  }

  private func nextRun(_ value: Bool, _ window: ByteRange, _ maxLength: Int) -> ByteRange? {
    precondition(maxLength > 0, "a run has at least one byte")
    let granules = granulesTouching(window)
    let words = words
    let lower =
      value
      ? words.firstSet(granules.lower, granules.upper)
      : words.firstClear(granules.lower, granules.upper)
    guard lower < granules.upper else { return nil }
    // A run that is long enough is not followed to its end.
    let enough = min(granules.upper - lower, maxLength &>> shift + 2)
    let upper =
      value
      ? words.firstClear(lower, lower + enough)
      : words.firstSet(lower, lower + enough)
    return bytes(lower, upper).intersection(window).prefix(maxLength)
  }

  /// Finds the next run and clears it: what a copier takes, no one else will.
  ///
  /// It deals in whole granules, so that what is returned is what was cleared: only granules wholly
  /// inside `window` (the last one as far as the size), and `maxLength` rounded down to granules,
  /// but at least one. Nil when there is none. O(levels) amortised.
  public func takeNextRun(in window: ByteRange, maxLength: Int = .max) -> ByteRange? {
    precondition(maxLength > 0, "a run has at least one byte")
    let granules = granulesInside(window)
    let words = words
    let lower = words.firstSet(granules.lower, granules.upper)
    guard lower < granules.upper else { return nil }
    let enough = min(granules.upper - lower, max(1, maxLength &>> shift))
    let upper = words.firstClear(lower, lower + enough)
    words.assign(false, lower, upper)
    return bytes(lower, upper)
  }

  /// Calls `body` with each run of set granules in `window` (all of the disk when nil), from low to
  /// high, clipped to it.
  ///
  /// Two runs never touch.
  ///
  /// The bitmap must not change meanwhile: runs are found some dozens ahead. `RunCursor` is for
  /// bitmaps that change. O(levels + words with both set and clear granules + runs).
  @inlinable
  public func forEachRun<E: Error>(
    in window: ByteRange? = nil, _ body: (ByteRange) throws(E) -> Void
  ) throws(E) {
    var batch = RunBatch(self, in: window ?? bounds)
    while batch.fill() {
      for index in 0..<batch.count { try body(batch[index]) }
    }
  }

  /// The runs that `forEachRun(in:_:)` gives, as an array.
  public func runs(in window: ByteRange? = nil) -> [ByteRange] {
    var runs: [ByteRange] = []
    forEachRun(in: window) { runs.append($0) }
    return runs
  }
}
