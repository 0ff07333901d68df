internal import Execution
internal import Synchronization

/// From the start to the end.
extension Job {
  /// Starts the work, and that of the other members of its group.
  ///
  /// Does nothing for a job that was cancelled before, or that is not in place yet: one of which
  /// only the registry has told.
  public func start() { group.start() }

  /// Starts the work of a group whose members are all in place: a transaction's commit.
  func commit() {
    group.release()
    group.start()
  }

  /// Becomes running; false when it has ended or begun already.
  func begin() -> Bool {
    changing { state in
      guard !state.isStarted else { return false }
      state.isStarted = true
      become(.running, &state)
      return true
    }
  }

  /// Works, to the end.
  func drive() {
    world.spawn { [self] in
      var failure: JobError?
      do throws(JobError) { try await body.run(self) } catch { failure = error }
      await group.rest(self, failure)
    }
  }

  /// Forgets a job whose creation failed after it had its name, and tells those who wait.
  ///
  /// Its group is held, so that nobody has ended it.
  func withdraw(_ error: JobError) {
    group.remove(self)
    changing { state in
      registry.forget(self)
      state.result = state.isCancelled ? .cancelled : .failure(error)
      become(.null, &state)
    }
  }

  /// Undoes a job that was prepared and has not started, as part of a change of the graph: what a
  /// transaction that fails does.
  func abandon() async {
    group.remove(self)
    cancelFromGroup()
    await end()
  }

  // MARK: - What the group does

  /// Whether the work is over.
  var isAtRest: Bool { state.withLock { $0.isAtRest } }

  /// The work is over; answers whether the job aborts, rather than waits.
  func rest(_ failure: JobError?) -> Bool {
    changing { state in
      state.isAtRest = true
      state.failure = state.isCancelled ? nil : failure
      guard state.isCancelled || failure != nil else {
        become(.waiting, &state)
        return false
      }
      // A job that failed while it came to rest leaves that to nobody.
      if state.status == .paused { become(.running, &state) }
      become(.aborting, &state)
      return true
    }
  }

  /// The whole group is at rest, without a failure.
  func becomePending() {
    changing { state in
      become(.pending, &state)
      if !isAutoFinalizing { registry.events.append(.pending(type: type, id: id)) }
    }
  }

  /// Cancels the job, unless it has failed: another member of the group did, or was cancelled.
  ///
  /// One that has not started is at rest at once.
  func cancelFromGroup() {
    changing { state in
      guard state.status != .aborting else { return }
      state.isCancelled = true
      endPause(&state)
      guard !state.isStarted else { return }
      state.isStarted = true
      state.isUnstarted = true
      state.isAtRest = true
      become(.aborting, &state)
    }
  }

  /// Ends the job as it is decided, as part of a change of the graph.
  func end() async {
    let result = changing { state in
      let result = Self.result(state)
      if result != .success, state.status != .aborting { become(.aborting, &state) }
      return result
    }
    await body.finish(self, result.ending)
    conclude(result)
  }

  private static func result(_ state: State) -> JobResult {
    if state.isCancelled { return .cancelled }
    return state.failure.map { .failure($0) } ?? .success
  }

  private func conclude(_ result: JobResult) {
    let progress = body.progress
    changing { state in
      state.lastProgress = progress
      let tells = !state.isUnstarted
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
