internal import Synchronization

/// The commands of a job's users, with QEMU's refusals.
extension Job {
  /// Asks the job to end, and with it all of its group; what they have done is undone.
  ///
  /// Returns at once. A backup that was paused by its user goes on to its end; only an unforced
  /// cancellation refuses to touch it.
  ///
  /// Source: QMP's `job-cancel`, and `block-job-cancel` with its `force`.
  public func cancel(force: Bool = true) throws(JobError) {
    try group.cancel(self, force: force)
  }

  /// Marks the job as cancelled, or refuses to.
  func noteCancellation(force: Bool, isEnding: Bool) throws(JobError) {
    try changing { state throws(JobError) in
      guard state.status.admits(.cancel), !isEnding else {
        throw .refused(.cancel, id, state.status)
      }
      if !force, state.isUserPaused {
        throw JobError(.wrongState, "The block job for device '\(id)' is currently paused")
      }
      state.isCancelled = true
      endPause(&state)
    }
  }

  /// Brings the job's own work to rest.
  ///
  /// Returns at once; the job is `paused` when its requests under way have ended. Guests' writes go
  /// on, and what they overwrite is still saved.
  ///
  /// Source: QMP's `job-pause`.
  public func pause() throws(JobError) {
    try changing { state throws(JobError) in
      try check(.pause, state)
      if state.isUserPaused { throw JobError(.wrongState, "Job is already paused") }
      state.isUserPaused = true
    }
  }

  /// Lets a paused job go on.
  ///
  /// Source: QMP's `job-resume`.
  public func resume() throws(JobError) {
    try changing { state throws(JobError) in
      guard state.isUserPaused else {
        throw JobError(.wrongState, "Can't resume a job that was not paused")
      }
      try check(.resume, state)
      endPause(&state)
    }
  }

  /// Limits the job's own work to so many bytes a second; 0 for no limit.
  ///
  /// Source: QMP's `block-job-set-speed`.
  public func setSpeed(_ bytesPerSecond: Int) throws(JobError) {
    try changing { state throws(JobError) in
      try check(.setSpeed, state)
      try Job.check(speed: bytesPerSecond)
      state.speed = bytesPerSecond
    }
  }

  /// Ends a job that would go on forever: refused by every state of a backup.
  ///
  /// Source: QMP's `job-complete`.
  public func complete() throws(JobError) {
    try state.withLock { state throws(JobError) in try check(.complete, state) }
  }

  /// Lets a pending job and all of its group change bitmaps and graph; returns when they are
  /// concluded.
  ///
  /// Not to be called while holding the graph's `changes`, which the end waits for.
  ///
  /// Source: QMP's `job-finalize`.
  public func finalize() async throws(JobError) { try await group.finalize(self) }

  /// Forgets a concluded job, and frees its name.
  ///
  /// Source: QMP's `job-dismiss`.
  public func dismiss() throws(JobError) {
    try changing { state throws(JobError) in
      try check(.dismiss, state)
      registry.forget(self)
      become(.null, &state)
    }
  }

  static func check(speed: Int) throws(JobError) {
    guard speed >= 0 else {
      throw JobError(.invalidArgument, "Parameter 'speed' expects a non-negative value")
    }
  }

  private func check(_ verb: JobVerb, _ state: State) throws(JobError) {
    guard state.status.admits(verb) else { throw .refused(verb, id, state.status) }
  }

  func endPause(_ state: inout State) {
    state.isUserPaused = false
    state.isParked = false
    if state.status == .paused { become(.running, &state) }
  }
}
