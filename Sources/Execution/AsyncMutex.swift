public import Synchronization

/// A lock that may be held across `await`; those who wait for it get it in the order they came.
///
/// For state that I/O must not interleave with. State alone belongs under `Synchronization.Mutex`,
/// which is never held across `await`. It is not recursive.
///
/// Taking it free and giving it back unwanted is one atomic operation each, without suspension.
/// Waiting does not observe cancellation, so that a request is never torn;
/// `lockUnlessCancelled()` is for jobs.
public final class AsyncMutex: Sendable {
  /// 0 free, 1 held, 2 held and somebody may wait.
  ///
  /// Becomes 2, and leaves 2, only under `waiters`.
  @usableFromInline internal let word = Atomic(0)
  private let waiters = Mutex(WaitList())

  /// Makes a free lock.
  public init() {}

  /// Runs `body` with the lock held, after waiting for it.
  @inlinable
  public func withLock<Success, Failure: Error>(
    _ body: () async throws(Failure) -> Success
  ) async throws(Failure) -> Success {
    await lock()
    defer { unlock() }
    return try await body()
  }

  /// Takes the lock if it is free, and tells whether it did.
  @inlinable
  public func tryLock() -> Bool {
    word.compareExchange(expected: 0, desired: 1, ordering: .acquiring).exchanged
  }

  /// Takes the lock, after waiting for it.
  ///
  /// Prefer `withLock(_:)`; else pair it with `unlock()`.
  @inlinable
  public func lock() async {
    if tryLock() { return }
    await lockSlowly()
  }

  /// Takes the lock like `lock()`, but stops waiting when the calling task is cancelled; returns
  /// whether the lock was taken.
  public func lockUnlessCancelled() async -> Bool {
    if Task.isCancelled { return false }
    if tryLock() { return true }
    let number = waiters.withLock { $0.reserve() }
    return await withTaskCancellationHandler {
      await withUnsafeContinuation { waiting in
        let answer: Bool? = waiters.withLock { list in
          // Looked at under the lock: a cancellation after this finds the number in the list.
          Task.isCancelled ? false : takeOrQueue(waiting, number, &list)
        }
        if let answer { waiting.resume(returning: answer) }
      }
    } onCancel: {
      waiters.withLock { $0.remove(number) }?.resume(returning: false)
    }
  }

  /// Gives the lock to the one who has waited longest, or frees it.
  ///
  /// Any task may call it for the one that took the lock.
  @inlinable
  public func unlock() {
    if word.compareExchange(expected: 1, desired: 0, ordering: .releasing).exchanged { return }
    unlockSlowly()
  }

  @usableFromInline
  internal func lockSlowly() async {
    _ = await withUnsafeContinuation { waiting in
      let answer = waiters.withLock { list in takeOrQueue(waiting, list.reserve(), &list) }
      if let answer { waiting.resume(returning: answer) }
    }
  }

  /// True when the lock had become free and is taken; nil when `waiting` is in the line instead.
  private func takeOrQueue(
    _ waiting: Waiting, _ number: UInt64, _ list: inout WaitList
  ) -> Bool? {
    if word.exchange(2, ordering: .acquiring) == 0 { return true }
    list.append(waiting, number)
    return nil
  }

  @usableFromInline
  internal func unlockSlowly() {
    let next = waiters.withLock { list -> Waiting? in
      if let next = list.popFirst() { return next }
      let before = word.exchange(0, ordering: .releasing)
      if before == 0 { trap("an AsyncMutex was unlocked that was not locked") }
      return nil
    }
    next?.resume(returning: true)
  }
}
