/// Which of the states that a crash could leave are made.
///
/// Few changes are enumerated whole; many by the patterns that find most ordering errors, and by
/// seeded subsets.
public struct CrashPlan: Sendable {
  /// All combinations are made, of sectors or else of operations, where there are no more of them
  /// than two to this power.
  public var exhaustiveBits: Int
  /// Whether every pair of operations is made alone.
  public var makesPairs: Bool
  /// How many cuts of one operation that changes several sectors are made; a seeded choice where
  /// there could be more.
  public var cutsPerOperation: Int
  /// How many seeded subsets are made for each of the probabilities 0.1, 0.5 and 0.9.
  public var subsetsPerProbability: Int
  /// The most states of one crash point; a seeded choice where there could be more, with "nothing"
  /// and "everything" always in it.
  public var maximum: Int

  /// The plan for long runs, unless told otherwise.
  public init(
    exhaustiveBits: Int = 12, makesPairs: Bool = true, cutsPerOperation: Int = 16,
    subsetsPerProbability: Int = 60, maximum: Int = .max
  ) {
    precondition((0...16).contains(exhaustiveBits), "two to that power is too much")
    precondition(maximum >= 2, "a crash leaves nothing or everything, at least")
    self.exhaustiveBits = exhaustiveBits
    self.makesPairs = makesPairs
    self.cutsPerOperation = cutsPerOperation
    self.subsetsPerProbability = subsetsPerProbability
    self.maximum = maximum
  }

  /// A plan that makes at most `maximum` states, for the runs of every day.
  public static func brief(maximum: Int = 24) -> CrashPlan {
    CrashPlan(
      exhaustiveBits: 5, cutsPerOperation: 4, subsetsPerProbability: 4, maximum: maximum)
  }
}
