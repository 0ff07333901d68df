/// Loops over the 64 leaf words below one word of level 1: 512 bytes, 4096 granules.
///
/// They do in one pass what the bulk operations need of a block, while it is in the nearest cache,
/// and use nothing beyond the baseline instruction set.
enum WordBlock {
  typealias Words = UnsafeMutablePointer<UInt64>

  /// ORs `source` into `target`.
  ///
  /// Returns which words are all ones now, and how many bits came in.
  static func merge(_ target: Words, _ source: Words) -> (ones: UInt64, gained: Int) {
    var gained = 0
    for index in 0..<64 {
      let old = target[index]
      let new = old | source[index]
      target[index] = new
      gained &+= (old ^ new).nonzeroBitCount
    }
    return (ones(target), gained)
  }

  /// Gives words that do not count the value that their bits say.
  static func expand(_ words: Words, mixed: UInt64, ones: UInt64) {
    var rest = ~mixed
    while rest != 0 {
      let index = rest.trailingZeroBitCount
      words[index] = ones &>> UInt64(index) & 1 != 0 ? ~0 : 0
      rest &= rest &- 1
    }
  }

  /// The number of bits set in the words.
  static func count(_ words: Words) -> Int {
    var total = 0
    for index in 0..<64 { total &+= words[index].nonzeroBitCount }
    return total
  }

  /// Copies `source` to `target`; returns the number of bits set in it.
  static func copy(_ target: Words, _ source: Words) -> Int {
    var total = 0
    for index in 0..<64 {
      target[index] = source[index]
      total &+= source[index].nonzeroBitCount
    }
    return total
  }

  /// Loads 64 little-endian words from unaligned memory.
  ///
  /// Returns which are mixed and which are all ones, and how many bits are set.
  static func load(
    _ target: Words, _ source: UnsafeRawPointer
  ) -> (mixed: UInt64, ones: UInt64, count: Int) {
    var count = 0
    for index in 0..<64 {
      let word = word(source, index)
      target[index] = word
      count &+= word.nonzeroBitCount
    }
    let ones = ones(target)
    return (nonzero(target) & ~ones, ones, count)
  }

  /// Copies 64 little-endian words from unaligned memory.
  @inline(__always)
  static func copy(_ target: Words, from source: UnsafeRawPointer) {
    for index in 0..<64 { target[index] = word(source, index) }
  }

  /// Which of 64 words in unaligned memory are not zero, of those in `lines`.
  @inline(__always)
  static func nonzero(_ source: UnsafeRawPointer, _ lines: UInt64) -> UInt64 {
    var mask: UInt64 = 0
    var rest = lines
    while rest != 0 {
      let first = rest.trailingZeroBitCount &<< 3
      var bits: UInt64 = 0
      for index in 0..<8 {
        bits |= (word(source, first &+ index) != 0 ? 1 : 0) &<< UInt64(index)
      }
      mask |= bits &<< UInt64(first)
      rest &= rest &- 1
    }
    return mask
  }

  /// Which lines of eight words in unaligned memory are not zero, a bit each.
  ///
  /// All of them where that can be guessed from three words: it is no mistake to look at too many.
  static func nonzeroLines(_ source: UnsafeRawPointer) -> UInt64 {
    if word(source, 0) != 0, word(source, 21) != 0, word(source, 42) != 0 { return 0xff }
    var lines: UInt64 = 0
    for line in 0..<8 {
      var all: UInt64 = 0
      for index in 0..<8 { all |= word(source, line &* 8 &+ index) }
      lines |= (all != 0 ? 1 : 0) &<< UInt64(line)
    }
    return lines
  }

  @inline(__always)
  static func word(_ source: UnsafeRawPointer, _ index: Int) -> UInt64 {
    UInt64(littleEndian: source.loadUnaligned(fromByteOffset: index &* 8, as: UInt64.self))
  }

  /// Which words are all ones.
  @inline(__always)
  private static func ones(_ words: Words) -> UInt64 {
    var mask: UInt64 = 0
    for group in 0..<8 {
      var bits: UInt64 = 0
      for index in 0..<8 {
        bits |= (words[group &* 8 &+ index] == ~0 ? 1 : 0) &<< UInt64(index)
      }
      mask |= bits &<< UInt64(group &* 8)
    }
    return mask
  }

  /// Which words are not zero.
  @inline(__always)
  private static func nonzero(_ words: Words) -> UInt64 {
    var mask: UInt64 = 0
    for group in 0..<8 {
      var bits: UInt64 = 0
      for index in 0..<8 {
        bits |= (words[group &* 8 &+ index] != 0 ? 1 : 0) &<< UInt64(index)
      }
      mask |= bits &<< UInt64(group &* 8)
    }
    return mask
  }

  /// Whether 64 words in unaligned memory all equal `value`.
  static func isUniform(_ source: UnsafeRawPointer, _ value: UInt64) -> Bool {
    for group in 0..<8 {
      var difference: UInt64 = 0
      for index in 0..<8 {
        difference |=
          source.loadUnaligned(fromByteOffset: (group * 8 + index) * 8, as: UInt64.self) ^ value
      }
      if difference != 0 { return false }
    }
    return true
  }
}
