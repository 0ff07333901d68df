internal import Execution

/// A way into the graph that can be shut: requests are counted in and out, so that the graph can be
/// changed while none is under way.
struct RequestDoor: Sendable {
  private let gate = AsyncGate()
  private let inFlight = InFlightCounter()

  /// Counts a request in, unless the door is shut: then `enter` waits.
  ///
  /// What tries first costs no suspension.
  @inline(__always)
  func tryEnter() -> Bool {
    inFlight.enter()
    if gate.isOpen { return true }
    inFlight.leave()
    return false
  }

  /// Counts a request in, once the door is open.
  func enter() async {
    repeat { await gate.pass() } while !tryEnter()
  }

  /// Counts a request out.
  @inline(__always)
  func leave() { inFlight.leave() }

  /// Waits until no request is under way; new ones wait until `resume()`.
  ///
  /// Nests.
  func quiesce() async {
    gate.close()
    await inFlight.waitUntilIdle()
  }

  /// Lets requests through again.
  func resume() { gate.open() }
}
