public import Synchronization

/// A gate that those who come by pass while it is open, and wait at while it is closed.
///
/// It can be closed several times over, and opens with the last of as many `open()`. With an
/// `InFlightCounter` behind it, it makes a drain: who drains closes the gate, then waits until the
/// counter is idle. Who found the gate open may be one instant too late, so who enters looks again:
///
///     repeat {
///       await gate.pass()
///       counter.enter()
///       if gate.isOpen { break }
///       counter.leave()
///     } while true
public final class AsyncGate: Sendable {
  /// How often it is closed; changes only under `waiters`.
  @usableFromInline internal let closings = Atomic(0)
  private let waiters = Mutex<[UnsafeContinuation<Void, Never>]>([])

  /// Makes an open gate.
  public init() {}

  /// Whether those who come by would pass.
  @inlinable public var isOpen: Bool { closings.load(ordering: .sequentiallyConsistent) == 0 }

  /// Waits until the gate is open.
  ///
  /// Does not observe cancellation.
  @inlinable
  public func pass() async {
    if isOpen { return }
    await waitUntilOpen()
  }

  /// Closes the gate once more.
  public func close() {
    waiters.withLock { _ in _ = closings.wrappingAdd(1, ordering: .sequentiallyConsistent) }
  }

  /// Takes one closing back; the last one lets everybody who waits pass, in the order they came.
  public func open() {
    let woken = waiters.withLock { waiters -> [UnsafeContinuation<Void, Never>] in
      let left = closings.wrappingSubtract(1, ordering: .sequentiallyConsistent).newValue
      if left < 0 { trap("an AsyncGate was opened more often than closed") }
      guard left == 0 else { return [] }
      defer { waiters = [] }
      return waiters
    }
    for continuation in woken { continuation.resume() }
  }

  @usableFromInline
  internal func waitUntilOpen() async {
    await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
      let mayPass = waiters.withLock { waiters in
        if isOpen { return true }
        waiters.append(continuation)
        return false
      }
      if mayPass { continuation.resume() }
    }
  }
}
