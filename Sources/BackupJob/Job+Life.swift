internal import Execution

/// From the start to the end.
extension Job {
  /// Starts the work: a transaction's commit.
  ///
  /// Does nothing for a job that was cancelled before.
  public func start() {
    let isFirst = changing { state in
      guard !state.isStarted else { return false }
      state.isStarted = true
      become(.running, &state)
      return true
    }
    if isFirst { drive(unstarted: false) }
  }

  /// Forgets a job whose creation failed after it had its name.
  func withdraw() {
    changing { state in
      registry.forget(self)
      become(.null, &state)
    }
  }

  /// Runs the rest of the job's life.
  func drive(unstarted: Bool) {
    world.spawn { [self] in
      var failure: JobError?
      if !unstarted {
        do throws(JobError) { try await body.run(self) } catch { failure = error }
      }
      let result = await settle(failure)
      await body.finish(self, result.ending)
      conclude(result, tells: !unstarted)
    }
  }

  /// Decides how the job ends, and goes through the states up to there.
  private func settle(_ failure: JobError?) async -> JobResult {
    if let result = changing({ state in abortIfNeeded(failure, &state) }) { return result }
    // A group of jobs would wait here until all are `waiting`.
    changing { state in
      become(.waiting, &state)
      become(.pending, &state)
      if isAutoFinalizing { state.isFinalizeRequested = true }
    }
    if !isAutoFinalizing { registry.events.append(.pending(type: type, id: id)) }
    await wait { !$0.isFinalizeRequested && !$0.isCancelled }
    return changing { state in
      if let result = abortIfNeeded(nil, &state) { return result }
      state.isSettled = true
      return .success
    }
  }

  private func abortIfNeeded(_ failure: JobError?, _ state: inout State) -> JobResult? {
    let result: JobResult
    if state.isCancelled {
      result = .cancelled
    } else if let failure {
      result = .failure(failure)
    } else {
      return nil
    }
    state.isSettled = true
    // A job that failed while it came to rest leaves that to nobody.
    if state.status == .paused { become(.running, &state) }
    become(.aborting, &state)
    return result
  }

  private func conclude(_ result: JobResult, tells: Bool) {
    let progress = body.progress
    changing { state in
      state.lastProgress = progress
      if tells { tellEnd(result, progress, state.speed) }
      become(.concluded, &state)
      state.result = result
      if isAutoDismissing || !tells {
        registry.forget(self)
        become(.null, &state)
      }
    }
  }

  private func tellEnd(_ result: JobResult, _ progress: JobProgress, _ speed: Int) {
    let end = JobEnd(
      type: type, device: id, len: progress.total, offset: progress.current, speed: speed)
    switch result {
    case .success: registry.events.append(.completed(end, error: nil))
    case .failure(let error): registry.events.append(.completed(end, error: error.message))
    case .cancelled: registry.events.append(.cancelled(end))
    }
  }
}

extension JobResult {
  var ending: JobEnding {
    switch self {
    case .success: .success
    case .failure: .failure
    case .cancelled: .cancel
    }
  }
}
