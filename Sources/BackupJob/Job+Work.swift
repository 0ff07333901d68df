internal import Synchronization

/// What a job's body calls while it works.
extension Job {
  /// Where the work comes to rest when the job is paused.
  ///
  /// Returns false when the job is to end instead of going on.
  func pausePoint() async -> Bool {
    while state.withLock({ $0.isUserPaused && !$0.isCancelled }) {
      changing { state in
        guard state.isUserPaused, !state.isCancelled else { return }
        state.isParked = true
        rest(&state)
      }
      await wait { $0.isParked }  // resuming and cancelling end that
    }
    return !isCancelled
  }

  /// Whether the job was asked to end.
  var isCancelled: Bool { state.withLock { $0.isCancelled } }

  /// Suspends until the job is cancelled, pausing when asked to: what a job does that never ends by
  /// itself.
  func waitUntilCancelled() async {
    while await pausePoint() {
      await wait { !$0.isUserPaused && !$0.isCancelled }
    }
  }

  /// Counts a request of the job's own: a paused job has none under way.
  func beginWork() { state.withLock { $0.activeWork += 1 } }

  /// Counts the end of such a request.
  func endWork() {
    let isLast = state.withLock { state in
      state.activeWork -= 1
      return state.activeWork == 0 && state.isParked
    }
    if isLast { changing { rest(&$0) } }
  }

  /// Tells that a request failed, and what is done about it.
  func report(operation: String, action: ErrorAction) {
    registry.events.append(
      .failed(device: id, operation: operation, action: action.rawValue))
  }

  private func rest(_ state: inout State) {
    guard state.isParked, state.activeWork == 0, state.status == .running else { return }
    become(.paused, &state)
  }
}
