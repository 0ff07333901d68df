internal import Synchronization

/// A number of permits; those who wait for some get them in the order they came.
///
/// Who asks for many holds back those behind it, even if they ask for fewer: nobody starves.
/// Waiting does not observe cancellation unless the name says so.
public final class AsyncSemaphore: Sendable {
  private struct Entry {
    let number: UInt64
    let permits: Int
    let waiting: Waiting
  }

  private struct State {
    var available: Int
    var line = FIFOQueue<Entry>()
    var lastNumber: UInt64 = 0
  }

  private let state: Mutex<State>

  /// Makes a semaphore with `permits` permits.
  public init(permits: Int) {
    precondition(permits >= 0, "a semaphore has no negative number of permits")
    state = Mutex(State(available: permits))
  }

  /// The permits that nobody holds.
  public var available: Int { state.withLock { $0.available } }

  /// Runs `body` while holding `permits` permits, after waiting for them.
  @inlinable
  public func withPermits<Success, Failure: Error>(
    _ permits: Int = 1, _ body: () async throws(Failure) -> Success
  ) async throws(Failure) -> Success {
    await acquire(permits)
    defer { release(permits) }
    return try await body()
  }

  /// Takes `permits` permits if they are free and nobody waits, and tells whether it did.
  public func tryAcquire(_ permits: Int = 1) -> Bool {
    precondition(permits > 0, "a semaphore gives whole permits")
    return state.withLock { take(permits, &$0) }
  }

  /// Takes `permits` permits, after waiting for them.
  public func acquire(_ permits: Int = 1) async {
    if tryAcquire(permits) { return }
    _ = await withUnsafeContinuation { waiting in
      let isTaken = state.withLock { state in
        state.lastNumber += 1
        return takeOrQueue(permits, waiting, state.lastNumber, &state)
      }
      if isTaken { waiting.resume(returning: true) }
    }
  }

  /// Takes permits like `acquire(_:)`, but stops waiting when the calling task is cancelled;
  /// returns whether they were taken.
  public func acquireUnlessCancelled(_ permits: Int = 1) async -> Bool {
    if Task.isCancelled { return false }
    if tryAcquire(permits) { return true }
    let number = state.withLock { state in
      state.lastNumber += 1
      return state.lastNumber
    }
    return await withTaskCancellationHandler {
      await withUnsafeContinuation { waiting in
        let answer: Bool? = state.withLock { state in
          // Looked at under the lock: a cancellation after this finds the number in the line.
          if Task.isCancelled { return false }
          return takeOrQueue(permits, waiting, number, &state) ? true : nil
        }
        if let answer { waiting.resume(returning: answer) }
      }
    } onCancel: {
      cancelWait(number)
    }
  }

  /// Gives `permits` permits back, to those who wait first.
  public func release(_ permits: Int = 1) {
    precondition(permits > 0, "a semaphore takes whole permits back")
    let isWanted = state.withLock { state in
      state.available += permits
      return !state.line.isEmpty
    }
    if isWanted { serveLine() }
  }

  private func take(_ permits: Int, _ state: inout State) -> Bool {
    guard state.line.isEmpty, state.available >= permits else { return false }
    state.available -= permits
    return true
  }

  private func takeOrQueue(
    _ permits: Int, _ waiting: Waiting, _ number: UInt64, _ state: inout State
  ) -> Bool {
    if take(permits, &state) { return true }
    state.line.append(Entry(number: number, permits: permits, waiting: waiting))
    return false
  }

  private func cancelWait(_ number: UInt64) {
    let cancelled = state.withLock { state in
      state.line.removeFirst { $0.number == number }?.waiting
    }
    cancelled?.resume(returning: false)
    // Those behind it may have waited for it alone.
    serveLine()
  }

  /// Wakes those at the head of the line whose permits are there.
  private func serveLine() {
    while true {
      let next = state.withLock { state -> Waiting? in
        guard let first = state.line.first, first.permits <= state.available else { return nil }
        state.available -= first.permits
        return state.line.popFirst()?.waiting
      }
      guard let next else { return }
      next.resume(returning: true)
    }
  }
}
