public import BackupJob

/// The events that jobs must send, in order, with their fields.
///
/// A script is a list of steps. Steps of several jobs that run at once are lanes: each lane has its
/// order, and they mix in any way.
///
///     let script: EventScript = [
///       .status("drive0", .created, .running, .waiting, .pending),
///       .completed("drive0", len: 458_752, offset: 458_752),
///       .status("drive0", .concluded, .null),
///     ]
///     try script.check(lab.jobs.events.take())
public struct EventScript: Sendable, ExpressibleByArrayLiteral {
  /// A part of a script.
  public struct Step: Sendable {
    /// Lists of patterns that mix in any way; one for events that come one after the other.
    let lanes: [[EventPattern]]
  }

  private let steps: [Step]

  /// A script of these steps, one after the other.
  public init(_ steps: [Step]) { self.steps = steps }

  /// A script of these steps, one after the other.
  public init(arrayLiteral steps: Step...) { self.init(steps) }

  /// Both scripts, one after the other.
  public static func + (left: EventScript, right: EventScript) -> EventScript {
    EventScript(left.steps + right.steps)
  }

  /// The first event that is not as the script has it; nil when all are.
  public func difference(from events: [JobEvent]) -> Difference? {
    var position = 0
    for step in steps {
      var lanes = step.lanes.map { $0[...] }
      while position < events.count, Self.take(events[position], from: &lanes) { position += 1 }
      let missing = lanes.compactMap { lane in lane.first { !$0.isOptional } }
      if !missing.isEmpty {
        return Difference(events: events, index: position, expected: missing.map(\.description))
      }
    }
    return position == events.count
      ? nil : Difference(events: events, index: position, expected: [])
  }

  /// Throws the first difference, if there is one.
  public func check(_ events: [JobEvent]) throws {
    if let difference = difference(from: events) { throw LabError(difference.description) }
  }

  /// Takes the pattern that `event` matches off its lane; optional ones before it are passed over.
  private static func take(_ event: JobEvent, from lanes: inout [ArraySlice<EventPattern>]) -> Bool
  {
    for index in lanes.indices {
      var lane = lanes[index]
      while let first = lane.popFirst() {
        if first.matches(event) {
          lanes[index] = lane
          return true
        }
        if !first.isOptional { break }
      }
    }
    return false
  }
}

extension EventScript {
  /// Where events depart from a script.
  public struct Difference: Hashable, Sendable, CustomStringConvertible {
    /// What happened.
    public let events: [JobEvent]
    /// The index of the first event that the script does not have there; the number of events when
    /// some are missing.
    public let index: Int
    /// What the script has there, one of each lane; empty for the script's end.
    public let expected: [String]

    /// All events, a line each, with what was expected in front of the first that is wrong.
    public var description: String {
      var lines = ["the events are not those of the script from number \(index + 1) on:"]
      lines += events.prefix(index).map { "    " + $0.line }
      lines += (expected.isEmpty ? ["the end"] : expected).map { "  - " + $0 }
      lines += events.dropFirst(index).prefix(1).map { "  + " + $0.line }
      lines += events.dropFirst(index + 1).map { "    " + $0.line }
      if index == events.count { lines.append("  + the end") }
      return lines.joined(separator: "\n")
    }
  }
}

extension EventScript.Step {
  /// The job goes through these states, one after the other.
  public static func status(_ job: String, _ states: JobStatus...) -> Self {
    Self(lanes: [states.map { EventPattern(.status(job, $0)) }])
  }

  /// The job may go through these states.
  public static func perhaps(_ job: String, _ states: JobStatus...) -> Self {
    Self(lanes: [states.map { EventPattern(.status(job, $0)).orNothing }])
  }

  /// A backup has ended by itself; with `error` it failed.
  public static func completed(
    _ job: String, len: EventField, offset: EventField, speed: EventField = 0,
    error: String? = nil
  ) -> Self {
    let kind = EventPattern.Kind.completed(
      job, len: len, offset: offset, speed: speed, error: error)
    return Self(lanes: [[EventPattern(kind)]])
  }

  /// A backup was cancelled.
  public static func cancelled(
    _ job: String, len: EventField, offset: EventField, speed: EventField = 0
  ) -> Self {
    Self(lanes: [[EventPattern(.cancelled(job, len: len, offset: offset, speed: speed))]])
  }

  /// A backup waits to be finalized.
  public static func pending(_ job: String) -> Self { Self(lanes: [[EventPattern(.pending(job))]]) }

  /// A request of the job failed.
  public static func failed(
    _ job: String, _ operation: String, action: String = "report"
  ) -> Self {
    Self(lanes: [[EventPattern(.failed(job, operation: operation, action: action))]])
  }

  /// These lists of steps, each in its order, mixed in any way.
  ///
  /// No event should fit two of them at once. Steps that are made of lanes count as one list.
  public static func together(_ lists: [Self]...) -> Self {
    Self(lanes: lists.map { list in list.flatMap { $0.lanes.flatMap { $0 } } })
  }

  /// All of a backup that succeeds.
  public static func backup(_ job: String, work: EventField) -> Self {
    let steps: [Self] = [
      .status(job, .created, .running, .waiting, .pending),
      .completed(job, len: work, offset: work), .status(job, .concluded, .null),
    ]
    return Self(lanes: [steps.flatMap { $0.lanes.flatMap { $0 } }])
  }
}
