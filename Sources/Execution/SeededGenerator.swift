/// A deterministic pseudorandom generator: the same seed gives the same numbers everywhere.
///
/// The algorithm is xoshiro256** by Blackman and Vigna, its state filled by SplitMix64. It is fast
/// and well distributed, and no source of secrets.
public struct SeededGenerator: RandomNumberGenerator, Sendable {
  private var s0: UInt64
  private var s1: UInt64
  private var s2: UInt64
  private var s3: UInt64

  /// Makes the generator of `seed`; every value is good, 0 too.
  public init(seed: UInt64) {
    var filler = seed
    s0 = SeededGenerator.splitMix(&filler)
    s1 = SeededGenerator.splitMix(&filler)
    s2 = SeededGenerator.splitMix(&filler)
    s3 = SeededGenerator.splitMix(&filler)
  }

  /// Makes the generator that `seed` gives to `label`: streams of two labels are independent, so
  /// that a new user of randomness does not shift the numbers of the others.
  public init(seed: UInt64, label: String) {
    var hash = StableHash()
    hash.combine(seed)
    hash.combine(label)
    self.init(seed: hash.value)
  }

  /// The next 64 bits.
  public mutating func next() -> UInt64 {
    let result = (s1 &* 5).rotatedLeft(by: 7) &* 9
    let shifted = s1 << 17
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= shifted
    s3 = s3.rotatedLeft(by: 45)
    return result
  }

  /// A number in `0 ..< bound`, by one multiplication; `bound` must be above 0.
  internal mutating func index(below bound: Int) -> Int {
    Int(next().multipliedFullWidth(by: UInt64(bound)).high)
  }

  private static func splitMix(_ state: inout UInt64) -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}

/// A hash that is the same in every process, unlike `Hasher`: FNV-1a, taken a word at a time with a
/// rotation for numbers, and a byte at a time for text.
internal struct StableHash {
  private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325

  mutating func combine(_ number: UInt64) {
    value = ((value ^ number) &* 0x0000_0100_0000_01B3).rotatedLeft(by: 23)
  }

  mutating func combine(_ text: String) {
    for byte in text.utf8 { value = (value ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
    combine(UInt64(text.utf8.count))
  }
}

extension UInt64 {
  fileprivate func rotatedLeft(by count: UInt64) -> UInt64 {
    (self << count) | (self >> (64 - count))
  }
}
