import Testing

/// Random sequences of operations against the model, the invariants recomputed after each step.
@Suite struct ModelTests {
  /// Counts at the edges of words (64) and of words of words (4096), with a root of one level.
  static let smallCounts = [0, 1, 2, 63, 64, 65, 127, 128, 129, 500, 1000]
  static let largeCounts = [4095, 4096, 4097, 4160, 5000, 8191, 8192, 8193]

  @Test(arguments: 0..<20)
  func smallBitmapsAgreeWithTheModelAfterEachStep(_ block: Int) throws {
    for index in 0..<500 {
      let seed = UInt64(block * 1000 + index)
      var sequence = try RandomSequence(
        seed: seed, granuleCounts: ModelTests.smallCounts,
        granularities: [512, 4096, 65536, 1 << 31])
      if try !sequence.run(steps: 6) { return }
    }
  }

  @Test(arguments: 0..<8)
  func bitmapsOfManyWordsAgreeWithTheModelAfterEachStep(_ block: Int) throws {
    for index in 0..<20 {
      let seed = UInt64(1_000_000 + block * 1000 + index)
      var sequence = try RandomSequence(
        seed: seed, granuleCounts: ModelTests.largeCounts, granularities: [512, 1 << 20])
      if try !sequence.run(steps: 12) { return }
    }
  }
}
