/// The set leaf words below a word of level 2 where they are few, in a row: half of a scan.
///
/// Memory gives sequential reads several times faster than reads here and there, and a branch on
/// where the words are would be a guess. So all the memory is looked at ahead, the words that are
/// set are picked without a branch on which they are, and only then is one loop over all of them.
struct GatheredWords {
  /// So many words of a block of 64 at most; fuller ones are not gathered.
  private static let perBlock = 24
  /// So many are picked whether or not there are as many.
  private static let atOnce = 6
  /// The words of memory that are needed.
  static let capacity = 2 * 64 * perBlock

  /// Pairs of a leaf word and its first granule.
  private let entries: UnsafeMutablePointer<UInt64>
  private var next: UnsafeMutablePointer<UInt64>
  private var end: UnsafeMutablePointer<UInt64>
  /// The word of level 1 up to which memory has been looked at.
  private var lookedAhead = 0

  /// Makes an empty row in memory of `capacity` words.
  init(_ entries: UnsafeMutablePointer<UInt64>) {
    self.entries = entries
    next = entries
    end = entries
  }

  var isEmpty: Bool { next == end }

  /// Moves words to the output while it has room, and returns it.
  @inline(never)
  mutating func move(to output: BoundaryOutput) -> BoundaryOutput {
    var (next, output) = (next, output)  // local values live in registers
    while next != end, output.hasRoom {
      output.appendFew(next[0], base: Int(truncatingIfNeeded: next[1]))
      next += 2
    }
    self.next = next
    return output
  }

  /// Gathers the words below the words of level 1 from `first` on, which have all their granules
  /// before `limit`, below the same word of level 2.
  ///
  /// Returns the word of level 1 where it stopped: the first that is all ones or that has too many
  /// leaf words set. The row must be empty.
  @inline(never)
  mutating func gather(_ words: BitmapWords, from first: Int, before limit: Int) -> Int {
    let base = first & ~63
    let above = words.root > 1 ? words.levels[2][first &>> 6] : .init(mixed: ~0, ones: 0)
    let ones = above.ones & ~0 &<< UInt64(first & 63)
    let end = min(base &+ ones.trailingZeroBitCount, limit &>> 12)
    var rest = above.mixed & BitmapWords.mask(first & 63, end &- base)
    if first >= lookedAhead {
      words.lookAhead(base, words.notFull(base, rest))
      lookedAhead = base &+ 64
    }
    next = entries
    self.end = entries
    while rest != 0 {
      let block = base &+ rest.trailingZeroBitCount
      if !gatherBlock(words, block) { return block }
      rest &= rest &- 1
    }
    return end
  }

  /// Gathers the words below a word of level 1; false where they are too many, or not true.
  @inline(__always)
  private mutating func gatherBlock(_ words: BitmapWords, _ block: Int) -> Bool {
    let summary = words.level1[block]
    var rest = summary.mixed | summary.ones
    let count = rest.nonzeroBitCount
    if count > GatheredWords.perBlock || summary.ones != 0 && words.hasStaleWords { return false }
    for index in 0..<GatheredWords.atOnce {
      put(words, block &<< 6 &+ rest.trailingZeroBitCount & 63, at: index)
      rest &= rest &- 1
    }
    var index = GatheredWords.atOnce
    while rest != 0 {
      put(words, block &<< 6 &+ rest.trailingZeroBitCount, at: index)
      rest &= rest &- 1
      index &+= 1
    }
    end += 2 &* count
    return true
  }

  @inline(__always)
  private func put(_ words: BitmapWords, _ word: Int, at index: Int) {
    end[2 &* index] = words.leaf[word]
    end[2 &* index &+ 1] = UInt64(truncatingIfNeeded: word &<< 6)
  }
}
