internal import Primitives

/// The words of a bitmap and what holds between them; everything here is in granules.
///
/// Level 0 is the leaf: a bit a granule. A bit of level k + 1 stands for one *word* of level k, so
/// each level has a 64th of the words below it; the root is the lowest level above the leaf with at
/// most 64 words. Above the leaf a word is a pair of masks: *mixed* (the child word has set and
/// clear bits; read it) and *ones* (every granule below is set). A child in neither is all clear.
///
/// Invariants (checked by `HierarchicalBitmap.checkInvariants()`):
/// 1. A word counts only when it is in the root or its parent says *mixed*. Any other word holds
///    rubbish and is never read: so a huge range is set or cleared at the top alone.
/// 2. A word below a *mixed* bit is neither all clear nor all set: the form is canonical, and
///    two bitmaps are equal when their counting words are.
/// 3. `mixed` and `ones` of a word have no common bit.
/// 4. Bits beyond the last granule (or child) are clear in every word that counts.
/// 5. `count` is the number of set granules.
/// 6. Unless `hasStaleWords`, the words of levels 0 and 1 are true even where they do not count: a
///    granule can be read in the leaf alone, and copied from there. Memory starts that way;
///    changing 4096 granules at once, at level 2 or above, ends it.
struct BitmapWords {
  /// A word above the leaf.
  struct Summary {
    var mixed: UInt64
    var ones: UInt64
  }

  /// Summary levels at most: 2^41 granules make 2^35 leaf words and a root of 32 words at level 5.
  static let maximumRoot = 5

  /// What a bitmap consists of, in memory of its own.
  struct Header {
    /// The size of the disk in bytes, for the owner: all that changes lies behind one pointer.
    let size: Int
    let granuleCount: Int
    /// The level of the root, 1 ...
    ///
    /// 5: 2^41 granules make a root of 32 words at level 5.
    let root: Int
    /// Set granules.
    var count: Int
    /// Whether invariant 6 is off.
    var hasStaleWords: Bool
    let leaf: UnsafeMutablePointer<UInt64>
    let level1: UnsafeMutablePointer<Summary>
    /// The summaries by level; element 0 is not used.
    let levels: UnsafeMutablePointer<UnsafeMutablePointer<Summary>>
    let memory: ZeroedMemory
  }

  private let header: UnsafeMutablePointer<Header>

  var size: Int { header.pointee.size }
  var granuleCount: Int { header.pointee.granuleCount }
  var root: Int { header.pointee.root }
  var leaf: UnsafeMutablePointer<UInt64> { header.pointee.leaf }
  var level1: UnsafeMutablePointer<Summary> { header.pointee.level1 }
  var levels: UnsafeMutablePointer<UnsafeMutablePointer<Summary>> { header.pointee.levels }
  var count: Int {
    get { header.pointee.count }
    nonmutating set { header.pointee.count = newValue }
  }
  var hasStaleWords: Bool {
    get { header.pointee.hasStaleWords }
    nonmutating set { header.pointee.hasStaleWords = newValue }
  }

  /// Reserves the words of `granuleCount` clear granules; nil where the system refuses.
  init?(size: Int, granuleCount: Int) {
    var root = 1
    while BitmapWords.wordCount(granuleCount, root) > 64 { root += 1 }
    // The table, then the highest level first: what an empty or a full bitmap touches is one page.
    var summaryCount = 0
    for level in 1...root { summaryCount += BitmapWords.wordCount(granuleCount, level) }
    // The leaf starts a page: `trueWords` reckons with pages of eight words of level 1.
    let leafOffset = (64 + summaryCount * MemoryLayout<Summary>.stride).roundedUp(to: 4096)
    let leafByteCount = BitmapWords.wordCount(granuleCount, 0) * 8
    guard let memory = ZeroedMemory(byteCount: leafOffset + leafByteCount) else { return nil }
    let levels = memory.base.assumingMemoryBound(to: UnsafeMutablePointer<Summary>.self)
    var place = (memory.base + 64).assumingMemoryBound(to: Summary.self)
    for level in stride(from: root, through: 1, by: -1) {
      levels[level] = place
      place += BitmapWords.wordCount(granuleCount, level)
    }
    header = .allocate(capacity: 1)
    header.initialize(
      to: Header(
        size: size, granuleCount: granuleCount, root: root, count: 0, hasStaleWords: false,
        leaf: (memory.base + leafOffset).assumingMemoryBound(to: UInt64.self),
        level1: levels[1], levels: levels, memory: memory))
  }

  /// Returns the memory; the value must not be used any more.
  func deallocate() {
    header.pointee.memory.deallocate()
    header.deallocate()
  }

  /// Takes over the words of `other`, which must not be used any more.
  func replace(by other: BitmapWords) {
    header.pointee.memory.deallocate()
    header.pointee = other.header.pointee
    other.header.deallocate()
  }

  /// The bytes of the words that occupy memory now.
  var residentByteCount: Int { header.pointee.memory.residentByteCount }
}

// Geometry.
extension BitmapWords {
  /// The number of words at `level`.
  func wordCount(_ level: Int) -> Int { BitmapWords.wordCount(granuleCount, level) }

  /// The number of bits at `level`: granules, or words of the level below.
  func bitCount(_ level: Int) -> Int {
    let shift = 6 * level
    return (granuleCount + (1 &<< shift) - 1) &>> shift
  }

  private static func wordCount(_ granuleCount: Int, _ level: Int) -> Int {
    let shift = 6 * (level + 1)
    return (granuleCount + (1 &<< shift) - 1) &>> shift
  }

  /// The bits that exist in a word: all 64 but in the last word of a level.
  @inline(__always)
  func existing(_ level: Int, _ word: Int) -> UInt64 {
    let remaining = bitCount(level) - word &<< 6
    return remaining >= 64 ? ~0 : (1 &<< UInt64(remaining)) - 1
  }

  /// How many granules the children `mask` of a word stand for.
  @inline(__always)
  func granules(_ level: Int, _ word: Int, _ mask: UInt64) -> Int {
    let span = mask.nonzeroBitCount &<< (6 * level)
    guard mask != 0, level > 0 else { return span }
    // Only the last child of a level can be short.
    let last = word &<< 6 + (63 - mask.leadingZeroBitCount)
    let end = (last + 1) &<< (6 * level)
    return end > granuleCount ? span - (end - granuleCount) : span
  }
}

// Getting at words, and keeping invariant 2.
extension BitmapWords {
  /// Makes a word count (invariant 1), and returns true; or returns false when it lies in a region
  /// that has `value` throughout and need not be touched.
  ///
  /// A word made this way is uniform for the moment: the caller changes a bit and calls `settle`.
  func expose(_ level: Int, _ word: Int, unless value: Bool) -> Bool {
    var above = root
    while above > level {
      let child = word &>> (6 * (above - 1 - level))
      let summary = levels[above] + (child &>> 6)
      let bit: UInt64 = 1 &<< UInt64(child & 63)
      if summary.pointee.mixed & bit == 0 {
        let present = summary.pointee.ones & bit != 0
        if present == value { return false }
        fill(above - 1, child, with: present)
        summary.pointee.mixed |= bit
        summary.pointee.ones &= ~bit
      }
      above -= 1
    }
    return true
  }

  /// Writes a word that stands for `value` throughout.
  private func fill(_ level: Int, _ word: Int, with value: Bool) {
    let bits = value ? existing(level, word) : 0
    if level == 0 {
      leaf[word] = bits
    } else {
      levels[level][word] = Summary(mixed: 0, ones: bits)
    }
  }

  /// Tells the parents of a word that changed: a word that became uniform is folded into the bit
  /// that stands for it, and so on upwards (invariant 2).
  ///
  /// The word must count.
  func settle(_ level: Int, _ word: Int) {
    var level = level
    var word = word
    var uniform = uniformValue(level, word)
    while let value = uniform, level < root {
      let summary = levels[level + 1] + (word &>> 6)
      let bit: UInt64 = 1 &<< UInt64(word & 63)
      summary.pointee.mixed &= ~bit
      if value { summary.pointee.ones |= bit }
      level += 1
      word >>= 6
      uniform = uniformValue(level, word)
    }
  }

  /// The value of every granule below a word that counts, or nil when they differ.
  private func uniformValue(_ level: Int, _ word: Int) -> Bool? {
    let ones: UInt64
    if level == 0 {
      ones = leaf[word]
    } else {
      if levels[level][word].mixed != 0 { return nil }
      ones = levels[level][word].ones
    }
    if ones == 0 { return false }
    return ones == existing(level, word) ? true : nil
  }

  /// Loads the leaf words below the words of level 1 from `first` on whose bits are in `mixed`,
  /// before they are wanted, a word of each line.
  ///
  /// Where bits are few, each would be a miss in the cache behind a branch that nobody can predict.
  /// Read in a row the processor sees them coming: all of them cost less than the half that is
  /// wanted.
  @inline(never)
  func lookAhead(_ first: Int, _ mixed: UInt64) {
    var (sum, rest): (UInt64, UInt64) = (0, mixed)
    let base = leaf + first &<< 6
    while rest != 0 {
      let place = base + rest.trailingZeroBitCount &<< 6
      sum ^= place[0] ^ place[8] ^ place[16] ^ place[24]
      sum ^= place[32] ^ place[40] ^ place[48] ^ place[56]
      rest &= rest &- 1
    }
    BitmapWords.keep(sum)
  }

  /// Those words of level 1 among `mixed`, from `first` on, that have a clear leaf word: of the
  /// others the leaf is read in a row, or hardly at all.
  func notFull(_ first: Int, _ mixed: UInt64) -> UInt64 {
    var (found, rest): (UInt64, UInt64) = (0, mixed)
    while rest != 0 {
      let child = rest.trailingZeroBitCount
      let summary = level1[first &+ child]
      found |= (summary.mixed | summary.ones == ~0 ? 0 : 1) &<< UInt64(child)
      rest &= rest &- 1
    }
    return found
  }

  /// Takes a value, so that the compiler cannot leave out the loads that led to it.
  @inline(never)
  @_optimize(none)
  private static func keep(_ value: UInt64) {}

  /// The set granules below a word that counts.
  ///
  /// O(words below that count).
  func countBelow(_ level: Int, _ word: Int) -> Int {
    if level == 0 { return leaf[word].nonzeroBitCount }
    let summary = levels[level][word]
    var total = granules(level, word, summary.ones)
    var mixed = summary.mixed
    if level == 1, mixed == ~0 { return WordBlock.count(leaf + word &<< 6) }
    while mixed != 0 {
      total += countBelow(level - 1, word &<< 6 + mixed.trailingZeroBitCount)
      mixed &= mixed - 1
    }
    return total
  }
}
