/// The invariants of `BitmapWords`, recomputed from the words.
extension HierarchicalBitmap {
  /// What is wrong with the bitmap's words: empty when it is sound.
  ///
  /// For tests. O(words that count).
  public func checkInvariants() -> [String] {
    var check = InvariantCheck(words: words)
    check.run()
    return check.violations
  }
}

private struct InvariantCheck {
  let words: BitmapWords
  var violations: [String] = []
  var total = 0

  init(words: BitmapWords) { self.words = words }

  mutating func run() {
    for word in 0..<words.wordCount(words.root) { visit(words.root, word) }
    if !words.hasStaleWords, words.wordCount(0) <= 1 << 16 { checkTruth() }
    if total != words.count { fail(5, "count is \(words.count), but \(total) bits are set") }
  }

  private mutating func fail(_ number: Int, _ text: String) {
    if violations.count < 10 { violations.append("invariant \(number): \(text)") }
  }

  private mutating func visit(_ level: Int, _ word: Int) {
    let existing = existingBits(level, word)
    let place = "level \(level) word \(word)"
    guard level > 0 else {
      let bits = words.leaf[word]
      if bits & ~existing != 0 { fail(4, "\(place) has bits beyond the end") }
      if bits == 0 || bits == existing { fail(2, "\(place) is uniform below a mixed bit") }
      total += bits.nonzeroBitCount
      return
    }
    let summary = words.levels[level][word]
    if summary.mixed & summary.ones != 0 { fail(3, "\(place) is mixed and all ones") }
    if (summary.mixed | summary.ones) & ~existing != 0 {
      fail(4, "\(place) has bits beyond the end")
    }
    let isUniform = summary.mixed == 0 && (summary.ones == 0 || summary.ones == existing)
    if isUniform, level < words.root { fail(2, "\(place) is uniform below a mixed bit") }
    for bit in 0..<64 {
      let child = word * 64 + bit
      if summary.ones & (1 << UInt64(bit)) != 0 { total += granules(level, child) }
      if summary.mixed & existing & (1 << UInt64(bit)) != 0 { visit(level - 1, child) }
    }
  }

  /// Invariant 6, against a walk that believes only words that count.
  private mutating func checkTruth() {
    for word in 0..<words.wordCount(0) {
      let expected = expectedLeaf(word)
      if words.leaf[word] != expected { fail(6, "leaf word \(word) is stale") }
      let pair = words.level1[word / 64]
      let bit: UInt64 = 1 << UInt64(word % 64)
      let isOnes = expected == existingBits(0, word)
      if (pair.ones & bit != 0) != isOnes || (pair.mixed & bit != 0) != (!isOnes && expected != 0) {
        fail(6, "level 1 word \(word / 64) is stale")
      }
    }
  }

  private func expectedLeaf(_ word: Int) -> UInt64 {
    for level in stride(from: words.root, through: 1, by: -1) {
      let child = word >> (6 * (level - 1))
      let summary = words.levels[level][child / 64]
      let bit: UInt64 = 1 << UInt64(child % 64)
      if summary.mixed & bit == 0 { return summary.ones & bit != 0 ? existingBits(0, word) : 0 }
    }
    return words.leaf[word]
  }

  /// Reckoned by division, not by the shifts under test.
  private func existingBits(_ level: Int, _ word: Int) -> UInt64 {
    var bits: UInt64 = 0
    for bit in 0..<64 where granules(level, word * 64 + bit) > 0 { bits |= 1 << UInt64(bit) }
    return bits
  }

  /// The granules that a bit at `level` stands for.
  private func granules(_ level: Int, _ bit: Int) -> Int {
    var span = 1
    for _ in 0..<level { span *= 64 }
    return max(0, min(span, words.granuleCount - bit * span))
  }
}
