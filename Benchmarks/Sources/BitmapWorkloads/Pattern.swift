/// How set bits are spread over a bitmap.
public enum Pattern: String, CaseIterable, Sendable {
  /// One random bit in 1,024: 65,536 at 2^26.
  case sparse
  /// A run of 1 to 256 bits for every 4,096: 16,384 runs at 2^26.
  case runs
  /// Each bit by a coin.
  case half
  /// Every bit.
  case full
  /// All but 1,000 single bits.
  case holes
  /// None.
  case empty

  /// The bits, the same for each call with the same `seed`.
  public func bits(_ bitCount: Int, seed: UInt64 = 1) -> FlatBits {
    let bits = FlatBits(bitCount: bitCount)
    var random = SplitMix(seed: seed)
    switch self {
    case .sparse:
      for _ in 0..<bitCount / 1024 { bits.set(random.next(below: bitCount)) }
    case .runs:
      for run in Pattern.ranges(bitCount, seed: seed) { bits.assign(true, run.lower, run.upper) }
    case .half:
      for word in 0..<bits.wordCount { bits.words[word] = random.next() }
      bits.trim()
    case .full, .holes:
      bits.assign(true, 0, bitCount)
      if self == .full { break }
      for _ in 0..<min(1000, bitCount / 2) {
        let bit = random.next(below: bitCount)
        bits.assign(false, bit, bit + 1)
      }
    case .empty: break
    }
    return bits
  }

  /// Bits each set with the probability `density`.
  public static func bits(_ bitCount: Int, density: Double, seed: UInt64 = 1) -> FlatBits {
    let bits = FlatBits(bitCount: bitCount)
    var random = SplitMix(seed: seed)
    for bit in 0..<bitCount where random.nextUnit() < density { bits.set(bit) }
    return bits
  }

  /// Random ranges of 1 to 256 bits, one for every 4,096.
  public static func ranges(_ bitCount: Int, seed: UInt64 = 1) -> [(lower: Int, upper: Int)] {
    var random = SplitMix(seed: seed)
    return (0..<max(1, bitCount / 4096)).map { _ in
      let lower = random.next(below: bitCount)
      return (lower, min(bitCount, lower + 1 + random.next(below: 256)))
    }
  }

  /// Random bits.
  public static func points(_ bitCount: Int, count: Int, seed: UInt64 = 1) -> [Int] {
    var random = SplitMix(seed: seed)
    return (0..<count).map { _ in random.next(below: bitCount) }
  }
}

extension FlatBits {
  /// Clears what lies beyond the last bit.
  func trim() {
    if bitCount & 63 != 0 { words[wordCount - 1] &= (1 << UInt64(bitCount & 63)) - 1 }
  }
}
