public import Primitives
internal import Synchronization

/// A lock on ranges of bytes that may be held across `await`.
///
/// Ranges that share no byte never wait for each other. Among ranges that do, those who wait get
/// the lock in the order they came; shared holders exclude exclusive ones only. An empty range
/// conflicts with nothing. It is not recursive: a holder that locks an overlapping range again
/// waits for itself.
///
/// Waiting does not observe cancellation, so that a request is never torn. Taking and giving back
/// cost O(holders + waiters), both as few as there are requests in flight, and allocate nothing
/// once the lists have grown to that number.
public final class RangeLock: Sendable {
  /// How a range is held.
  public enum Mode: Sendable {
    /// Together with other shared holders.
    case shared
    /// Alone.
    case exclusive
  }

  /// One held range; `RangeLock.unlock(_:)` takes it back, once.
  public struct Token: Sendable {
    /// The range that is held.
    public let range: ByteRange
    fileprivate let number: UInt64
  }

  private struct Claim {
    let range: ByteRange
    let mode: Mode
    let number: UInt64

    func excludes(_ other: Claim) -> Bool {
      (mode == .exclusive || other.mode == .exclusive)
        && range.lower < other.range.upper && other.range.lower < range.upper
        && !range.isEmpty && !other.range.isEmpty
    }
  }

  private struct State {
    var held: [Claim] = []
    /// In order of arrival.
    var waiting: [(claim: Claim, task: Waiting)] = []
    var lastNumber: UInt64 = 0
  }

  private let state = Mutex(State())

  /// Makes a lock of which nothing is held.
  public init() {}

  /// The number of ranges that are held.
  public var heldCount: Int { state.withLock { $0.held.count } }

  /// Runs `body` while holding `range`, after waiting for it.
  @inlinable
  public func withLock<Success, Failure: Error>(
    _ range: ByteRange, _ mode: Mode = .exclusive, _ body: () async throws(Failure) -> Success
  ) async throws(Failure) -> Success {
    let token = await lock(range, mode)
    defer { unlock(token) }
    return try await body()
  }

  /// Takes `range` if no holder excludes it and nobody waits for a byte of it; else returns nil.
  public func tryLock(_ range: ByteRange, _ mode: Mode = .exclusive) -> Token? {
    state.withLock { state in take(range, mode, &state) }
  }

  /// Takes `range`, after waiting for it.
  ///
  /// Prefer `withLock(_:_:_:)`; else pair it with `unlock(_:)`.
  @inlinable
  public func lock(_ range: ByteRange, _ mode: Mode = .exclusive) async -> Token {
    if let token = tryLock(range, mode) { return token }
    return await lockSlowly(range, mode)
  }

  /// Gives the range of `token` back, and hands it to those who waited for it.
  public func unlock(_ token: Token) {
    var next = release(token)
    while let task = next {
      task.resume(returning: true)
      next = grantOne(token.range)
    }
  }

  @usableFromInline
  internal func lockSlowly(_ range: ByteRange, _ mode: Mode) async -> Token {
    var number: UInt64 = 0
    _ = await withUnsafeContinuation { task in
      let isTaken = state.withLock { state in
        if let token = take(range, mode, &state) {
          number = token.number
          return true
        }
        state.lastNumber += 1
        number = state.lastNumber
        state.waiting.append((Claim(range: range, mode: mode, number: number), task))
        return false
      }
      if isTaken { task.resume(returning: true) }
    }
    return Token(range: range, number: number)
  }

  private func take(_ range: ByteRange, _ mode: Mode, _ state: inout State) -> Token? {
    let claim = Claim(range: range, mode: mode, number: state.lastNumber + 1)
    for other in state.held where other.excludes(claim) { return nil }
    for other in state.waiting where other.claim.excludes(claim) { return nil }
    state.lastNumber += 1
    state.held.append(claim)
    return Token(range: range, number: claim.number)
  }

  private func release(_ token: Token) -> Waiting? {
    state.withLock { state in
      guard let index = state.held.firstIndex(where: { $0.number == token.number }) else {
        trap("a range was given back to a RangeLock that does not hold it: \(token.range)")
      }
      state.held.swapAt(index, state.held.count - 1)
      state.held.removeLast()
      return grant(token.range, &state)
    }
  }

  private func grantOne(_ freed: ByteRange) -> Waiting? {
    state.withLock { state in grant(freed, &state) }
  }

  /// Makes the first waiter whom the freed bytes concern, and whom neither a holder nor an earlier
  /// waiter excludes, a holder.
  private func grant(_ freed: ByteRange, _ state: inout State) -> Waiting? {
    for index in state.waiting.indices {
      let claim = state.waiting[index].claim
      guard claim.range.overlaps(freed) else { continue }
      if state.held.contains(where: { $0.excludes(claim) }) { continue }
      if state.waiting[..<index].contains(where: { $0.claim.excludes(claim) }) { continue }
      state.held.append(claim)
      return state.waiting.remove(at: index).task
    }
    return nil
  }
}
