internal import Synchronization

/// The outcome of one entered piece of work: set once by the World, waited for once from outside,
/// by a suspended task or by a blocked thread.
internal final class Outcome<Success: Sendable, Failure: Error>: @unchecked Sendable {
  // Sendable: `result` is written before `state` becomes done and read after, under its lock.
  private enum State {
    case pending
    case awaited(UnsafeContinuation<Void, Never>)
    case blocked(ThreadCondition)
    case done
  }

  private let state = Mutex(State.pending)
  private let doneFlag = Atomic(false)
  private var result: Result<Success, Failure>?

  /// Whether the work has ended.
  var isDone: Bool { doneFlag.load(ordering: .acquiring) }

  /// Sets the result and lets the one who waits go on.
  func fulfil(_ value: Result<Success, Failure>) {
    result = value
    doneFlag.store(true, ordering: .releasing)
    let previous = state.withLock { state in
      let previous = state
      state = .done
      return previous
    }
    switch previous {
    case .pending: break
    case .awaited(let continuation): continuation.resume()
    case .blocked(let condition): condition.withLock { condition.broadcast() }
    case .done: trap("one piece of work ended twice")
    }
  }

  /// Suspends the calling task until the result is there.
  func wait() async {
    if isDone { return }
    await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
      let isDone = state.withLock { state in
        if case .done = state { return true }
        state = .awaited(continuation)
        return false
      }
      if isDone { continuation.resume() }
    }
  }

  /// Blocks the calling thread until the result is there.
  func waitBlocking() {
    let condition = ThreadCondition()
    let mustWait = state.withLock { state in
      if case .done = state { return false }
      state = .blocked(condition)
      return true
    }
    guard mustWait else { return }
    condition.withLock {
      while !isDone { condition.wait() }
    }
  }

  /// Hands the result over; called once, after a wait.
  func take() throws(Failure) -> Success {
    let value = result
    result = nil
    guard let value else { trap("a result was taken before it was there") }
    switch value {
    case .success(let success): return success
    case .failure(let failure): throw failure
    }
  }
}
