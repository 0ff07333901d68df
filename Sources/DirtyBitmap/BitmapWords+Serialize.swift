extension BitmapWords {
  /// Stores the words `lower ..< upper` of the leaf as the serialised form has them, to `target`.
  ///
  /// Uniform regions are filled, and mixed ones copied, by the longest piece.
  func store(_ lower: Int, _ upper: Int, to target: UnsafeMutableRawPointer) {
    var position = lower
    while position < upper {
      let place = target + (position &- lower) &<< 3
      let copyEnd = min(upper, trueWords(position))
      if copyEnd > position {
        storeWords(position, copyEnd, to: place)
        position = copyEnd
        continue
      }
      var level = root
      while level > 1, isMixed(level, position) { level &-= 1 }
      let end = min(upper, level == 1 ? (position | 63) &+ 1 : uniformEnd(level, position))
      if level == 1 {
        storeBlock(position, end, to: place)
      } else {
        let value = isOnes(level, position)
        let count = (end &- position) &<< 3
        place.initializeMemory(as: UInt8.self, repeating: value ? 0xff : 0, count: count)
      }
      position = end
    }
    trimStored(lower, upper, at: target)
  }

  /// The end of the leaf words from `position` on that can be copied from the leaf: by invariant 6
  /// it is the serialised form.
  ///
  /// `position` itself where that does not hold, or where it would read pages that have no memory:
  /// a page is eight words of level 1 and has memory when one of them is mixed.
  private func trueWords(_ position: Int) -> Int {
    if hasStaleWords { return position }
    if root == 1 { return wordCount(0) }
    for level in stride(from: root, to: 2, by: -1) where !isMixed(level, position) {
      return position
    }
    let mixed = levels[2][position &>> 12].mixed
    var page = position &>> 9 & 7
    while page < 8, mixed &>> UInt64(page &<< 3) & 0xff != 0 { page &+= 1 }
    return max(position, position & ~4095 &+ page &<< 9)
  }

  /// Whether the word of the level below that the leaf word lies in counts.
  private func isMixed(_ level: Int, _ leafWord: Int) -> Bool {
    let bit = leafWord &>> (6 &* (level &- 1))
    return levels[level][bit &>> 6].mixed &>> UInt64(bit & 63) & 1 != 0
  }

  private func isOnes(_ level: Int, _ leafWord: Int) -> Bool {
    let bit = leafWord &>> (6 &* (level &- 1))
    return levels[level][bit &>> 6].ones &>> UInt64(bit & 63) & 1 != 0
  }

  /// The leaf word after the stretch of equal bits at `level` that begins with one, not mixed.
  private func uniformEnd(_ level: Int, _ leafWord: Int) -> Int {
    let shift = 6 &* (level &- 1)
    let bit = leafWord &>> shift
    let summary = levels[level][bit &>> 6]
    let others = isOnes(level, leafWord) ? ~summary.ones : summary.mixed | summary.ones
    let length = (others &>> UInt64(bit & 63)).trailingZeroBitCount
    return (bit &+ min(length, 64 &- bit & 63)) &<< shift
  }

  /// Stores the leaf words `lower ..< upper`, which share a word of level 1, where some are stale.
  private func storeBlock(_ lower: Int, _ upper: Int, to target: UnsafeMutableRawPointer) {
    let summary = level1[lower &>> 6]
    if summary.mixed == ~0 { return storeWords(lower, upper, to: target) }
    target.initializeMemory(as: UInt8.self, repeating: 0, count: (upper &- lower) &<< 3)
    var rest = summary.mixed | summary.ones
    rest &= BitmapWords.mask(lower & 63, (upper &- 1) & 63 &+ 1)
    while rest != 0 {
      let child = rest.trailingZeroBitCount
      let word = lower & ~63 &+ child
      let bits = summary.ones &>> UInt64(child) & 1 != 0 ? ~0 : leaf[word]
      target.storeBytes(
        of: bits.littleEndian, toByteOffset: (word &- lower) &<< 3, as: UInt64.self)
      rest &= rest &- 1
    }
  }

  /// Stores the leaf words `lower ..< upper` as they are.
  private func storeWords(_ lower: Int, _ upper: Int, to target: UnsafeMutableRawPointer) {
    #if _endian(little)
    target.copyMemory(from: leaf + lower, byteCount: (upper &- lower) &<< 3)
    #else
    for word in lower..<upper {
      target.storeBytes(
        of: leaf[word].littleEndian, toByteOffset: (word &- lower) &<< 3, as: UInt64.self)
    }
    #endif
  }

  /// Clears the bits beyond the last granule, which a fill with ones has set.
  private func trimStored(_ lower: Int, _ upper: Int, at target: UnsafeMutableRawPointer) {
    let tail = granuleCount &>> 6
    guard granuleCount & 63 != 0, tail >= lower, tail < upper else { return }
    let offset = (tail - lower) &<< 3
    let word = UInt64(littleEndian: target.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    target.storeBytes(
      of: (word & existing(0, tail)).littleEndian, toByteOffset: offset, as: UInt64.self)
  }

  /// Replaces the words `lower ..< upper` of the leaf by those at `source`, in serialised form.
  ///
  /// Returns whether bits beyond the last granule were set there; they are dropped.
  func load(_ lower: Int, _ upper: Int, from source: UnsafeRawPointer) -> Bool {
    var position = lower
    var hasExcess = false
    while position < upper {
      let place = source + (position - lower) &<< 3
      if position & 63 == 0, position + 64 <= upper, (position + 64) &<< 6 <= granuleCount {
        loadBlock(position &>> 6, place)
        position += 64
      } else {
        let word = UInt64(littleEndian: place.loadUnaligned(as: UInt64.self))
        let bits = word & existing(0, position)
        if word != bits { hasExcess = true }
        loadWord(position, bits)
        position += 1
      }
    }
    return hasExcess
  }

  /// Replaces one leaf word.
  private func loadWord(_ word: Int, _ bits: UInt64) {
    let all = existing(0, word)
    if bits == 0 || bits == all {
      assign(0, word, all, bits != 0)
    } else {
      // Exposed unless clear: then there is a set bit to write; it cannot be left uniform.
      if !expose(0, word, unless: false) { _ = expose(0, word, unless: true) }
      count += bits.nonzeroBitCount - leaf[word].nonzeroBitCount
      leaf[word] = bits
    }
  }

  /// Gives what lies below a word of level 1 one value; without writing to the leaf, so that
  /// loading an image's bitmap that is full takes no memory.
  private func assignBlock(_ word: Int, _ value: Bool) {
    if root > 1 {
      assign(2, word &>> 6, 1 &<< UInt64(word & 63), value)
    } else {
      assign(1, word, existing(1, word), value)
    }
  }

  /// Replaces the 64 leaf words below a word of level 1.
  private func loadBlock(_ word: Int, _ source: UnsafeRawPointer) {
    let lines = WordBlock.nonzeroLines(source)
    if lines == 0 { return assignBlock(word, false) }
    if lines == 0xff, source.loadUnaligned(as: UInt64.self) == ~0, WordBlock.isUniform(source, ~0) {
      return assignBlock(word, true)
    }
    if !expose(1, word, unless: false) { _ = expose(1, word, unless: true) }
    // The lines are written below: now they are asked for one after the other.
    if level1[word].mixed != ~0 { lookAhead(word, 1) }
    let old = level1[word]
    let target = leaf + word &<< 6
    if lines.nonzeroBitCount <= 5 {
      level1[word] = loadFew(target, source, lines, old)
    } else {
      let before = countBelow(1, word)
      let result = WordBlock.load(target, source)
      count += result.count - before
      level1[word] = Summary(mixed: result.mixed, ones: result.ones)
    }
    settle(1, word)
  }

  /// Replaces the 64 words of a block by those at `source`, of which those that are set lie in
  /// `lines`, by looking at the words that are set or were, and returns the new summary.
  @inline(__always)
  private func loadFew(
    _ target: WordBlock.Words, _ source: UnsafeRawPointer, _ lines: UInt64, _ old: Summary
  ) -> Summary {
    let present = WordBlock.nonzero(source, lines)
    var (ones, gained): (UInt64, Int) = (0, 0)
    var rest = present | old.mixed | old.ones
    while rest != 0 {
      let index = rest.trailingZeroBitCount
      let new = WordBlock.word(source, index)
      let isOnes = 0 &- (old.ones &>> UInt64(index) & 1)
      let before = target[index] & (0 &- (old.mixed &>> UInt64(index) & 1)) | isOnes
      gained &+= new.nonzeroBitCount &- before.nonzeroBitCount
      ones |= new == ~0 ? rest & (0 &- rest) : 0
      rest &= rest &- 1
    }
    count += gained
    WordBlock.copy(target, from: source)
    return Summary(mixed: present & ~ones, ones: ones)
  }
}
