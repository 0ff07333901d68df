/// A clock that stands still while anything can run, and then jumps to the next deadline.
internal struct SimulatedClock {
  private(set) var nowNanoseconds: UInt64 = 0
  private var deadlines = DeadlineQueue()

  mutating func reserve() -> UInt64 { deadlines.reserve() }

  mutating func add(_ waiting: Waiting, timer: UInt64, deadline: UInt64) {
    deadlines.add(waiting, timer: timer, deadline: deadline)
  }

  mutating func remove(_ timer: UInt64) -> Waiting? { deadlines.remove(timer) }

  /// Jumps to the earliest deadline; false when there is none.
  mutating func advance() -> Bool {
    guard let earliest = deadlines.earliest else { return false }
    nowNanoseconds = max(nowNanoseconds, earliest)
    return true
  }

  /// Takes the next task whose deadline has come.
  mutating func popDue() -> Waiting? { deadlines.popDue(nowNanoseconds) }
}
