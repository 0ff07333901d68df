/// Tasks waiting in line, first come first served.
internal struct WaitList {
  private struct Entry {
    let number: UInt64
    let waiting: Waiting
  }

  private var entries = FIFOQueue<Entry>()
  private var lastNumber: UInt64 = 0

  var isEmpty: Bool { entries.isEmpty }

  /// A number for one wait, known before the wait begins so that a cancellation can name it.
  mutating func reserve() -> UInt64 {
    lastNumber += 1
    return lastNumber
  }

  /// Adds at the end, under a reserved number.
  mutating func append(_ waiting: Waiting, _ number: UInt64) {
    entries.append(Entry(number: number, waiting: waiting))
  }

  mutating func popFirst() -> Waiting? { entries.popFirst()?.waiting }

  /// Takes one out of the line; O(count).
  ///
  /// Nil when it is no longer there.
  mutating func remove(_ number: UInt64) -> Waiting? {
    entries.removeFirst { $0.number == number }?.waiting
  }
}
