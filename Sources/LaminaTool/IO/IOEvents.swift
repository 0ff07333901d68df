internal import Execution
internal import Synchronization

/// The requests that run beside the commands, and when what they say is printed.
///
/// qemu-io hears of a finished request only while it waits for something: for another request, for
/// time to pass, for the next line of its input. So a report is held back until then, and a script
/// reads as it does there.
final class IOEvents: Sendable {
  /// Says something; called at most by one at a time.
  typealias Report = @Sendable (Console) -> Void

  private struct State {
    var isWaiting = false
    var held: [Report] = []
  }

  private let console: Console
  private let state = Mutex(State())
  private let running = InFlightCounter()
  private let changeCount = Atomic<Int>(0)

  init(console: Console) { self.console = console }

  /// Whether a request is under way.
  var hasRequests: Bool { running.count > 0 }

  /// Grows whenever a request ends or something is said.
  var changes: Int { changeCount.load(ordering: .acquiring) }

  /// A request begins.
  func begin() { running.enter() }

  /// A request ends, and says this.
  func end(_ report: @escaping Report) {
    state.withLock { state in
      if state.isWaiting { report(console) } else { state.held.append(report) }
    }
    changeCount.add(1, ordering: .releasing)
    running.leave()
  }

  /// Says a line at once.
  func say(_ line: String) {
    state.withLock { _ in console.print(line) }
    changeCount.add(1, ordering: .releasing)
  }

  /// Does what qemu-io waits for; meanwhile, reports are printed as they come.
  func waiting<Value>(_ body: () async throws -> Value) async rethrows -> Value {
    startWaiting()
    defer { state.withLock { $0.isWaiting = false } }
    return try await body()
  }

  private func startWaiting() {
    state.withLock { state in
      for report in state.held { report(console) }
      state.held = []
      state.isWaiting = true
    }
  }

  /// Waits for all requests to end.
  func finishAll() async {
    await waiting { await running.waitUntilIdle() }
  }
}
