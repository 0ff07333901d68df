extension BitmapWords {
  /// Whether the granule is set.
  func contains(_ granule: Int) -> Bool {
    if !hasStaleWords { return leaf[granule &>> 6] &>> UInt64(granule & 63) & 1 != 0 }
    var level = root
    while level > 0 {
      let child = granule &>> (6 * level)
      let summary = levels[level] + (child &>> 6)
      let bit: UInt64 = 1 &<< UInt64(child & 63)
      if summary.pointee.mixed & bit == 0 { return summary.pointee.ones & bit != 0 }
      level -= 1
    }
    return leaf[granule &>> 6] & (1 &<< UInt64(granule & 63)) != 0
  }

  /// Sets bits of one leaf word: what a small write does.
  ///
  /// O(levels), mostly O(1).
  ///
  /// Where invariant 6 holds, two loads that do not wait for each other tell all: bits set in the
  /// leaf are set, and a pair of level 1 that is not clear throughout counts, for it is not all set
  /// either when a bit is missing. Few instructions let the processor overlap the misses of writes
  /// that follow each other.
  @inline(__always)
  func setInWord(_ word: Int, _ mask: UInt64) {
    let old = leaf[word]
    let isTrue = !hasStaleWords
    if old & mask == mask, isTrue { return }
    let pair = level1 + word &>> 6
    let bit: UInt64 = 1 &<< UInt64(word & 63)
    let new = old | mask
    let added = new ^ old
    let isOneBit = added & (added &- 1) == 0
    // Only the last word can be full without being all ones.
    let cannotFill = new != ~0 && word != (granuleCount &- 1) &>> 6
    guard isTrue, isOneBit, cannotFill, pair.pointee.mixed != 0, pair.pointee.ones & bit == 0 else {
      return setInWordSlowly(word, mask)
    }
    leaf[word] = new
    pair.pointee.mixed |= bit
    count &+= 1
  }

  /// Not inlined, so that the fast path saves no registers.
  @inline(never)
  private func setInWordSlowly(_ word: Int, _ mask: UInt64) { assign(0, word, mask, true) }

  /// Gives the granules `lower ..< upper` one value.
  ///
  /// Words cut by a bound are changed at their level; what lies between is a range of whole words,
  /// that is, of bits one level up. O(levels × 64), and what `replace` says.
  func assign(_ value: Bool, _ lower: Int, _ upper: Int) {
    var low = lower
    var high = upper
    var level = 0
    while low < high {
      let firstWord = low &>> 6
      let lastWord = (high - 1) &>> 6
      if firstWord == lastWord {
        return assign(level, firstWord, BitmapWords.mask(low & 63, high - firstWord &<< 6), value)
      }
      if level == root {
        for word in firstWord...lastWord {
          let from = word == firstWord ? low & 63 : 0
          assign(level, word, BitmapWords.mask(from, min(64, high - word &<< 6)), value)
        }
        return
      }
      if low & 63 != 0 {
        assign(level, firstWord, BitmapWords.mask(low & 63, 64), value)
        low = (firstWord + 1) &<< 6
      }
      if high & 63 != 0 {
        assign(level, lastWord, BitmapWords.mask(0, high & 63), value)
        high = lastWord &<< 6
      }
      low >>= 6
      high >>= 6
      level += 1
    }
  }

  /// Gives every granule one value.
  ///
  /// O(words of the root).
  func assignAll(_ value: Bool) {
    if count != (value ? granuleCount : 0) { hasStaleWords = true }
    for word in 0..<wordCount(root) {
      levels[root][word] = Summary(mixed: 0, ones: value ? existing(root, word) : 0)
    }
    count = value ? granuleCount : 0
  }

  /// Gives the children `mask` of a word one value, whether the word counts now or not.
  func assign(_ level: Int, _ word: Int, _ mask: UInt64, _ value: Bool) {
    guard expose(level, word, unless: value) else { return }
    if level > 0, mask & changes(level, word, value) == 0 { return }
    replace(level, word, mask, value)
    settle(level, word)
  }

  /// The children of a word above the leaf that counts in which a granule has another value.
  @inline(__always)
  private func changes(_ level: Int, _ word: Int, _ value: Bool) -> UInt64 {
    let summary = levels[level][word]
    return value ? ~summary.ones : summary.mixed | summary.ones
  }

  /// Gives the children `mask` of a word that counts one value, and keeps the count.
  ///
  /// The count costs a walk of the mixed words that vanish. Each was made by an earlier call, which
  /// made at most two a level, so that this is paid for: O(levels) amortised over the calls.
  func replace(_ level: Int, _ word: Int, _ mask: UInt64, _ value: Bool) {
    if level == 0 {
      let old = leaf[word]
      let new = value ? old | mask : old & ~mask
      leaf[word] = new
      count += new.nonzeroBitCount - old.nonzeroBitCount
      return
    }
    let old = levels[level][word]
    let changed = mask & changes(level, word, value)
    if level > 1, changed != 0 { hasStaleWords = true }
    var before = granules(level, word, old.ones & mask)
    var mixed = old.mixed & mask
    while mixed != 0 {
      before += countBelow(level - 1, word &<< 6 + mixed.trailingZeroBitCount)
      mixed &= mixed - 1
    }
    count += (value ? granules(level, word, mask) : 0) - before
    if level == 1, !hasStaleWords { fillLeaf(word, changed, value) }
    levels[level][word] = Summary(
      mixed: old.mixed & ~mask, ones: value ? old.ones | mask : old.ones & ~mask)
  }

  /// Keeps invariant 6 below children of a word of level 1 that become uniform.
  func fillLeaf(_ word: Int, _ children: UInt64, _ value: Bool) {
    var rest = children
    while rest != 0 {
      let child = word &<< 6 &+ rest.trailingZeroBitCount
      leaf[child] = value ? existing(0, child) : 0
      rest &= rest &- 1
    }
  }

  /// The bits `from ..< to` of a word, 0 <= from < to <= 64.
  @inline(__always)
  static func mask(_ from: Int, _ to: Int) -> UInt64 {
    (~0 &<< UInt64(from)) & (~0 &>> UInt64(64 - to))
  }
}
