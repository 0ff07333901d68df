/// Tasks waiting for a time, earliest deadline first and in order of arrival within one deadline.
///
/// A binary heap: adding and taking the earliest cost O(log n), cancelling O(n).
internal struct DeadlineQueue {
  private struct Entry {
    let deadline: UInt64
    let timer: UInt64
    let waiting: Waiting

    func precedes(_ other: Entry) -> Bool {
      (deadline, timer) < (other.deadline, other.timer)
    }
  }

  private var entries: [Entry] = []
  private var lastTimer: UInt64 = 0

  var isEmpty: Bool { entries.isEmpty }

  /// The earliest deadline, in nanoseconds of the World's clock.
  var earliest: UInt64? { entries.first?.deadline }

  /// A number for one timer, known before the wait begins so that a cancellation can name it.
  mutating func reserve() -> UInt64 {
    lastTimer += 1
    return lastTimer
  }

  /// Adds a task under a reserved number.
  mutating func add(_ waiting: Waiting, timer: UInt64, deadline: UInt64) {
    entries.append(Entry(deadline: deadline, timer: timer, waiting: waiting))
    siftUp(entries.count - 1)
  }

  /// Takes the earliest task when its deadline is `now` or before.
  mutating func popDue(_ now: UInt64) -> Waiting? {
    guard let first = entries.first, first.deadline <= now else { return nil }
    removeEntry(at: 0)
    return first.waiting
  }

  /// Takes the task of `timer` out before its deadline, or returns nil when it is no longer there.
  mutating func remove(_ timer: UInt64) -> Waiting? {
    guard let index = entries.firstIndex(where: { $0.timer == timer }) else { return nil }
    let waiting = entries[index].waiting
    removeEntry(at: index)
    return waiting
  }

  private mutating func removeEntry(at index: Int) {
    let last = entries.count - 1
    if index != last { entries.swapAt(index, last) }
    entries.removeLast()
    guard index < entries.count else { return }
    siftUp(index)
    siftDown(index)
  }

  private mutating func siftUp(_ start: Int) {
    var index = start
    while index > 0 {
      let parent = (index - 1) / 2
      guard entries[index].precedes(entries[parent]) else { return }
      entries.swapAt(index, parent)
      index = parent
    }
  }

  private mutating func siftDown(_ start: Int) {
    var index = start
    while true {
      var least = index
      for child in [2 * index + 1, 2 * index + 2] where child < entries.count {
        if entries[child].precedes(entries[least]) { least = child }
      }
      guard least != index else { return }
      entries.swapAt(index, least)
      index = least
    }
  }
}
