/// A run of the ratio runner: what is printed, saved and compared.
struct Report: Codable, Sendable {
  var machine: Machine
  var arguments: [String]
  var rows: [Row] = []
}

/// One operation on one subject.
struct Row: Codable, Sendable {
  let suite: String
  let operation: String
  let subject: String
  let unit: String
  let unitCount: Int
  let yardstick: String
  let figures: [Figure]
  var verdict: Verdict?
  /// The most memory that a contender's program had at once, in bytes, by its name.
  var peakMemoryBytes: [String: Int]?

  /// What this project needs.
  var ours: Figure? { figures.first { $0.name == Contender.ours } }

  /// What a saved run is searched by.
  var key: String { "\(suite)/\(operation)/\(subject)" }
}

/// What one contender needs, in nanoseconds of one operation.
struct Figure: Codable, Sendable {
  let name: String
  let minimum: Double
  let median: Double
  let rounds: Int
  /// The median over the rounds of its time divided by the yardstick's in that round.
  let ratio: Double
}

/// A bar, and the figure that is held against it.
struct Verdict: Codable, Sendable {
  let figure: Double
  let limit: Double
  let unit: String
  /// Whether the figure has to be the limit at least, not at most.
  var isFloor = false

  var isMet: Bool { isFloor ? figure >= limit : figure <= limit }
}
