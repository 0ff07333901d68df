/// What a simulated World did: the same seed and the same work give an equal trace, in any process.
public struct SimulationTrace: Hashable, Sendable {
  /// A line that `World.record(_:)` wrote, with where it stands in the run.
  public struct Event: Hashable, Sendable, CustomStringConvertible {
    /// The number of scheduling steps made before the event.
    public let step: Int
    /// The virtual time of the event.
    public let instant: WorldInstant
    /// The text that was recorded.
    public let text: String

    /// The event on one line.
    public var description: String { "[\(step) @\(instant.nanoseconds) ns] \(text)" }
  }

  /// The most events that are kept; beyond it the older half is dropped, but stays in `hash`.
  public static let eventLimit = 1 << 16
  /// The most decisions that are kept; later ones are in `hash` alone.
  public static let decisionLimit = 1 << 20

  /// The seed of the World.
  public let seed: UInt64
  /// The number of scheduling steps made.
  public internal(set) var steps = 0
  /// The recorded events, oldest first.
  public internal(set) var events: [Event] = []
  /// For each step, the position that was chosen in the list of those that could run.
  public internal(set) var decisions: [UInt32] = []

  private var running = StableHash()

  internal init(seed: UInt64) { self.seed = seed }

  /// A hash of every decision, time and event so far, stable between processes.
  public var hash: UInt64 { running.value }

  internal mutating func decide(_ index: Int, of count: Int, nowNanoseconds: UInt64) {
    steps += 1
    running.combine(UInt64(count) << 32 | UInt64(index))
    running.combine(nowNanoseconds)
    if decisions.count < SimulationTrace.decisionLimit { decisions.append(UInt32(index)) }
  }

  internal mutating func record(_ text: String, nowNanoseconds: UInt64) {
    running.combine(UInt64(steps))
    running.combine(nowNanoseconds)
    running.combine(text)
    if events.count == SimulationTrace.eventLimit { events.removeFirst(events.count / 2) }
    events.append(
      Event(step: steps, instant: WorldInstant(nanoseconds: nowNanoseconds), text: text))
  }

  /// Whether both runs were the same, step for step.
  public static func == (left: SimulationTrace, right: SimulationTrace) -> Bool {
    left.seed == right.seed && left.steps == right.steps && left.hash == right.hash
  }

  /// Feeds what `==` compares.
  public func hash(into hasher: inout Hasher) {
    hasher.combine(seed)
    hasher.combine(steps)
    hasher.combine(hash)
  }
}
