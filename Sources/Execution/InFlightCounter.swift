public import Synchronization

/// Counts what is on its way, so that others can wait until nothing is.
///
/// `enter()` and `leave()` are one atomic addition each. Waiting is not exclusive: something may
/// enter right after the count was zero, so who drains closes a door first (an `AsyncGate`, say).
/// Either the one who enters and then looks at the gate sees it closed, or the one who closes it
/// and then waits here sees the other: both steps of both are sequentially consistent.
public final class InFlightCounter: Sendable {
  /// Twice the count, plus 1 while somebody waits for zero.
  @usableFromInline internal let word = Atomic(0)
  /// Who waits for zero; the lowest bit of `word` changes only under this lock.
  private let waiters = Mutex<[UnsafeContinuation<Void, Never>]>([])

  /// Makes a counter at zero.
  public init() {}

  /// The present count; already history when it returns.
  @inlinable public var count: Int { word.load(ordering: .relaxed) >> 1 }

  /// Counts one more.
  @inlinable
  public func enter() { word.wrappingAdd(2, ordering: .sequentiallyConsistent) }

  /// Counts one less, which must have entered.
  @inlinable
  public func leave() {
    let now = word.wrappingSubtract(2, ordering: .acquiringAndReleasing).newValue
    precondition(now >= 0, "something left an InFlightCounter that had not entered")
    if now == 1 { resumeWaiters() }
  }

  /// Suspends until the count is zero, or was for a moment.
  ///
  /// Does not observe cancellation.
  public func waitUntilIdle() async {
    if word.load(ordering: .sequentiallyConsistent) >> 1 == 0 { return }
    await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
      let isIdle = waiters.withLock { waiters in
        let before = word.bitwiseOr(1, ordering: .sequentiallyConsistent).oldValue
        if before >> 1 != 0 {
          waiters.append(continuation)
          return false
        }
        if waiters.isEmpty { word.bitwiseAnd(~1, ordering: .relaxed) }
        return true
      }
      if isIdle { continuation.resume() }
    }
  }

  @usableFromInline
  internal func resumeWaiters() {
    let woken = waiters.withLock { waiters in
      defer { waiters = [] }
      word.bitwiseAnd(~1, ordering: .relaxed)
      return waiters
    }
    for continuation in woken { continuation.resume() }
  }
}
