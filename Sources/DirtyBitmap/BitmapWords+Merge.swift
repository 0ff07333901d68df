extension BitmapWords {
  /// Sets every granule that is set in `other`, which has as many granules.
  ///
  /// O(the words of `other` that count), whatever is set here.
  func merge(_ other: BitmapWords) {
    for word in 0..<wordCount(root) { mergeSummary(root, word, other) }
  }

  /// Merges a word that counts on both sides, and what is below.
  private func mergeSummary(_ level: Int, _ word: Int, _ other: BitmapWords) {
    let source = other.levels[level][word]
    if level == 1, word &<< 12 &+ 4096 <= granuleCount {
      let isSparse = (source.mixed | source.ones).nonzeroBitCount <= 16
      return isSparse ? mergeFew(word, source, other) : mergeBlock(word, source, other)
    }
    let gained = source.ones & ~levels[level][word].ones
    if gained != 0 { replace(level, word, gained, true) }
    var target = levels[level][word]
    var rest = source.mixed & ~target.ones
    if level == 2 {
      // What is sparse in the source is read here and there, on both sides.
      let sparse = other.notFull(word &<< 6, rest)
      other.lookAhead(word &<< 6, sparse)
      lookAhead(word &<< 6, sparse & target.mixed)
    }
    while rest != 0 {
      let bit = rest & (0 &- rest)
      let child = word &<< 6 + rest.trailingZeroBitCount
      rest &= rest - 1
      if target.mixed & bit == 0 {
        copy(level - 1, child, other)
        target.mixed |= bit
      } else if mergeChild(level - 1, child, other) {
        target.mixed &= ~bit
        target.ones |= bit
      }
    }
    levels[level][word] = target
  }

  /// Merges below a word of level 1 that has all its granules, where few words of the source are
  /// set.
  ///
  /// No branch but the loop's own: nobody could predict it.
  private func mergeFew(_ word: Int, _ source: Summary, _ other: BitmapWords) {
    let target = leaf + word &<< 6
    let added = other.leaf + word &<< 6
    var (mixed, ones) = (level1[word].mixed, level1[word].ones)
    var rest = (source.mixed | source.ones) & ~ones
    var gained = 0
    while rest != 0 {
      let child = rest.trailingZeroBitCount
      let bit = rest & (0 &- rest)
      rest &= rest &- 1
      // All ones where the summary says that the leaf counts.
      let counts = 0 &- (mixed &>> UInt64(child) & 1)
      let isOnes = 0 &- (source.ones &>> UInt64(child) & 1)
      let old = target[child] & counts
      let new = old | added[child] | isOnes
      target[child] = new
      gained &+= (new ^ old).nonzeroBitCount
      let full = new == ~0 ? bit : 0
      ones |= full
      mixed = (mixed | bit) & ~full
    }
    count += gained
    level1[word] = Summary(mixed: mixed, ones: ones)
  }

  /// Merges below a word of level 1 that has all its granules, in bulk.
  private func mergeBlock(_ word: Int, _ source: Summary, _ other: BitmapWords) {
    let target = leaf + word &<< 6
    if hasStaleWords {
      WordBlock.expand(target, mixed: level1[word].mixed, ones: level1[word].ones)
    }
    let result: (ones: UInt64, gained: Int)
    if source.mixed == ~0 || !other.hasStaleWords {
      result = WordBlock.merge(target, other.leaf + word &<< 6)
    } else {
      result = withUnsafeTemporaryAllocation(of: UInt64.self, capacity: 64) { copy in
        guard let words = copy.baseAddress else { return (0, 0) }
        words.initialize(from: other.leaf + word &<< 6, count: 64)
        WordBlock.expand(words, mixed: source.mixed, ones: source.ones)
        return WordBlock.merge(target, words)
      }
    }
    count += result.gained
    let present = level1[word].mixed | level1[word].ones | source.mixed | source.ones
    level1[word] = Summary(mixed: present & ~result.ones, ones: result.ones)
  }

  /// Merges a word that counts on both sides; true when it is all set now.
  private func mergeChild(
    _ level: Int, _ word: Int, _ other: BitmapWords
  ) -> Bool {
    if level == 0 {
      let old = leaf[word]
      let new = old | other.leaf[word]
      leaf[word] = new
      count += (new ^ old).nonzeroBitCount
      return new == existing(0, word)
    }
    mergeSummary(level, word, other)
    return levels[level][word].ones == existing(level, word)
  }

  /// Takes over a mixed word of `other`, and what counts below, where all was clear here.
  private func copy(_ level: Int, _ word: Int, _ other: BitmapWords) {
    if level == 0 {
      leaf[word] = other.leaf[word]
      count += leaf[word].nonzeroBitCount
      return
    }
    let source = other.levels[level][word]
    levels[level][word] = source
    if level == 1, !hasStaleWords { fillLeaf(word, source.ones, true) }
    if level > 1, source.ones != 0 { hasStaleWords = true }
    count += granules(level, word, source.ones)
    if level == 1, source.mixed == ~0 {
      count += WordBlock.copy(leaf + word &<< 6, other.leaf + word &<< 6)
      return
    }
    var mixed = source.mixed
    while mixed != 0 {
      copy(level - 1, word &<< 6 + mixed.trailingZeroBitCount, other)
      mixed &= mixed - 1
    }
  }

  /// Whether the same granules are set in `other`, which has as many.
  ///
  /// O(words that count).
  func isEqual(_ other: BitmapWords) -> Bool {
    guard count == other.count else { return false }
    for word in 0..<wordCount(root) where !isEqual(root, word, other) { return false }
    return true
  }

  private func isEqual(_ level: Int, _ word: Int, _ other: BitmapWords) -> Bool {
    if level == 0 { return leaf[word] == other.leaf[word] }
    let left = levels[level][word]
    let right = other.levels[level][word]
    // The form is canonical (invariant 2): equal sets have equal words.
    guard left.mixed == right.mixed, left.ones == right.ones else { return false }
    var mixed = left.mixed
    while mixed != 0 {
      let child = word &<< 6 + mixed.trailingZeroBitCount
      if !isEqual(level - 1, child, other) { return false }
      mixed &= mixed - 1
    }
    return true
  }
}
