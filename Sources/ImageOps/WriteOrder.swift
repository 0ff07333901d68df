internal import Synchronization

/// Lets pieces of work go on in the order of their numbers.
final class WriteOrder: Sendable {
  private struct State {
    var next = 0
    var isAbandoned = false
    var waiters: [Int: CheckedContinuation<Void, Never>] = [:]
  }
  private let state = Mutex(State())

  /// Waits until every piece before `number` has passed; false once the work is abandoned.
  func wait(for number: Int) async -> Bool {
    await withCheckedContinuation { continuation in
      let mustWait = state.withLock { state in
        if state.isAbandoned || state.next == number { return false }
        state.waiters[number] = continuation
        return true
      }
      if !mustWait { continuation.resume() }
    }
    return state.withLock { !$0.isAbandoned }
  }

  /// Lets the piece after `number` go on.
  func pass(_ number: Int) {
    let waiter = state.withLock { state in
      state.next = number + 1
      return state.waiters.removeValue(forKey: number + 1)
    }
    waiter?.resume()
  }

  /// Lets all go on, and tells them that nothing is to be done any more.
  func abandon() {
    let waiters = state.withLock { state in
      state.isAbandoned = true
      defer { state.waiters = [:] }
      return state.waiters.sorted { $0.key < $1.key }.map(\.value)
    }
    for waiter in waiters { waiter.resume() }
  }
}
