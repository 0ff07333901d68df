/// An enumeration of runs under way: the hot loop behind `HierarchicalBitmap.forEachRun`.
///
/// It hands out runs in batches, so that the loop over words stays here while the caller's closure
/// is inlined where it is written. Positions are granules; the runs stored are bytes, with the
/// upper bound of the last granule perhaps beyond the window (the caller clips).
struct RunScan {
  /// The first granule not looked at.
  private var position: Int
  /// The granule after the last one.
  private let limit: Int
  private var output: BoundaryOutput
  private var gathered: GatheredWords

  /// Makes an enumeration of granules, whose runs go to `batch`.
  init(
    _ lower: Int, _ upper: Int, shift: Int, _ batch: BoundaryOutput.Batch, capacity: Int,
    _ gathered: GatheredWords
  ) {
    position = lower
    limit = upper
    self.gathered = gathered
    output = BoundaryOutput(batch, capacity: capacity, shift: shift)
  }

  /// Fills the batch with the next runs, and returns how many: zero when there are no more.
  mutating func fill(_ words: BitmapWords) -> Int {
    var scan = self  // a local value lives in registers: the runs that are stored cannot alias it
    scan.output.begin()
    while scan.output.hasRoom {
      if !scan.gathered.isEmpty { scan.output = scan.gathered.move(to: scan.output) }
      if scan.position >= scan.limit || !scan.output.hasRoom { break }
      scan.advance(words)
    }
    let count = scan.output.finish(isLast: scan.position >= limit && scan.gathered.isEmpty)
    self = scan
    return count
  }

  /// Passes one uniform region, or the rest of a word of level 1 and of mixed ones after it.
  @inline(__always)
  private mutating func advance(_ words: BitmapWords) {
    var level = words.root
    while level > 1 {
      let bit = position &>> (6 &* level)
      let summary = words.levels[level][bit &>> 6]
      if summary.mixed &>> UInt64(bit & 63) & 1 == 0 { return passUniform(level, bit, summary) }
      level &-= 1
    }
    if position & 4095 != 0 || position &+ 4096 > limit {
      passWord(words, isWhole: false)
    } else {
      passWords(words)
    }
  }

  /// The stretch of equal uniform children that starts with one.
  @inline(__always)
  private mutating func passUniform(_ level: Int, _ bit: Int, _ summary: BitmapWords.Summary) {
    let ones = summary.ones &>> UInt64(bit & 63)
    let isSet = ones & 1 != 0
    let other = isSet ? ~ones : (summary.mixed | summary.ones) &>> UInt64(bit & 63)
    let length = min(other.trailingZeroBitCount, 64 &- bit & 63)
    let end = min((bit &+ length) &<< (6 &* level), limit)
    if isSet { output.append(position, end) }
    position = end
  }

  /// Whole words of level 1, as long as they lie below one word of level 2.
  ///
  /// Where few leaf words are set they are gathered; else one word of level 1 is passed, and those
  /// after it that are full.
  @inline(__always)
  private mutating func passWords(_ words: BitmapWords) {
    let word = position &>> 12
    if !isFull(words) {
      let end = gathered.gather(words, from: word, before: limit)
      if end > word {
        position = end &<< 12
        return
      }
    }
    var mixed: UInt64 = 1
    if words.root > 1 { mixed = words.levels[2][word &>> 6].mixed &>> UInt64(word & 63) }
    repeat {
      if !passWord(words, isWhole: true) { return }
      mixed &>>= 1
    } while mixed & 1 != 0 && position &+ 4096 <= limit && isFull(words)
  }

  /// Whether each leaf word below the word of level 1 at `position` is set.
  @inline(__always)
  private func isFull(_ words: BitmapWords) -> Bool {
    let summary = words.level1[position &>> 12]
    return summary.mixed | summary.ones == ~0
  }

  /// The rest of a word of level 1, or all of it when `isWhole`: up to 64 leaf words and uniform
  /// stretches.
  ///
  /// False when there was no room, and `position` is in the middle of it.
  @inline(__always)
  @discardableResult
  private mutating func passWord(_ words: BitmapWords, isWhole: Bool) -> Bool {
    let first = position
    let base = first & ~4095
    let leaf = words.leaf + base &>> 6
    let summary = words.level1[base &>> 12]
    var pending = summary.mixed | summary.ones
    if !isWhole {
      pending &= ~0 &<< UInt64((first &>> 6) & 63)
      if limit < base &+ 4096 { pending &= BitmapWords.mask(0, (limit &- base &+ 63) &>> 6) }
    }
    while pending != 0 {
      let child = pending.trailingZeroBitCount
      let granule = base &+ child &<< 6
      let ones = summary.ones &>> UInt64(child)
      if ones & 0xff == 0xff {
        let length = (~ones).trailingZeroBitCount
        let end = granule &+ length &<< 6
        output.append(isWhole ? granule : max(granule, first), isWhole ? end : min(end, limit))
        pending &= length &+ child == 64 ? 0 : ~0 &<< UInt64(length &+ child)
        continue
      }
      if !output.hasRoom {
        position = max(first, granule)
        return false
      }
      // Short stretches of ones go the way of mixed words: a branch would be a coin's throw.
      var bits = ones & 1 != 0 ? ~0 : leaf[child]
      if !isWhole {
        if granule < first { bits &= ~0 &<< UInt64(first &- granule) }
        if granule &+ 64 > limit { bits &= BitmapWords.mask(0, limit &- granule) }
      }
      output.append(bits, base: granule)
      pending &= pending &- 1
    }
    position = isWhole ? base &+ 4096 : min(base &+ 4096, limit)
    return true
  }
}
