extension World {
  /// Runs `body` inside this World and returns what it returns.
  ///
  /// The calling task is suspended meanwhile, whatever executor or actor it is on. Called inside of
  /// this World, it simply calls `body`. Cancelling the calling task cancels the task that `body`
  /// runs in, with the rule of `World`: no request is torn. A simulated World is driven by a thread
  /// made for the call; only one such call can be under way at a time.
  ///
  /// Costs some tens of microseconds: enter once a session, not once a request.
  public func run<Success: Sendable, Failure: Error>(
    _ body: sending @escaping () async throws(Failure) -> Success
  ) async throws(Failure) -> Success {
    if isCurrent { return try await body() }
    preconditionNotSimulating()
    let outcome = Outcome<Success, Failure>()
    let task = start(body, outcome)
    await withTaskCancellationHandler {
      switch kind {
      case .threaded: await outcome.wait()
      case .simulated(let executor): await executor.driveOnOwnThread { outcome.isDone }
      }
    } onCancel: {
      executor.cancel(task)
    }
    return try outcome.take()
  }

  /// Runs `body` inside this World from plain synchronous code: the calling thread waits for it
  /// and, in a simulated World, is the one that drives it.
  ///
  /// The process ends with a message when the calling thread belongs to a World: waiting there
  /// would take away a thread the work may need. `body` must not need the main actor when called on
  /// it.
  public func runBlocking<Success: Sendable, Failure: Error>(
    _ body: sending @escaping () async throws(Failure) -> Success
  ) throws(Failure) -> Success {
    preconditionOutside("runBlocking")
    let outcome = Outcome<Success, Failure>()
    _ = start(body, outcome)
    switch kind {
    case .threaded: outcome.waitBlocking()
    case .simulated(let executor): executor.drive { outcome.isDone }
    }
    return try outcome.take()
  }

  /// Starts work that outlives its caller: the one door for it.
  ///
  /// In a simulated World it runs while somebody is inside; from outside, `WorldTask.wait()`
  /// enters.
  @discardableResult
  public func spawn(_ body: sending @escaping () async -> Void) -> WorldTask {
    let outcome = Outcome<Void, Never>()
    return WorldTask(world: self, task: start(body, outcome))
  }

  /// Waits until every task of this World has ended, then until its threads have.
  ///
  /// Nothing may be started from outside after it is called, and it must be called from outside.
  /// It cancels nothing: ask the tasks to end before. A World that is merely released does without:
  /// its threads end after its last task.
  public func shutdown() {
    preconditionOutside("shutdown")
    guard door.close() else { return }
    let outcome = Outcome<Void, Never>()
    let tasks = tasks
    _ = makeTask { outcome.fulfil(.success(await tasks.waitUntilIdle())) }
    switch kind {
    case .threaded(let executor):
      outcome.waitBlocking()
      executor.pool.stop()
      executor.pool.waitForThreads()
    case .simulated(let executor):
      executor.drive { outcome.isDone }
    }
  }

  private func start<Success: Sendable, Failure: Error>(
    _ body: sending @escaping () async throws(Failure) -> Success,
    _ outcome: Outcome<Success, Failure>
  ) -> Task<Void, Never> {
    tasks.enter()
    if door.isClosed, !isCurrent { trap("work was started on a World that has been shut down") }
    return makeTask {
      do throws(Failure) {
        let success = try await body()
        self.tasks.leave()
        outcome.fulfil(.success(success))
      } catch {
        self.tasks.leave()
        outcome.fulfil(.failure(error))
      }
    }
  }

  /// The only unstructured task of the engine.
  ///
  /// A plain function makes it, so that there is no isolation of the caller for it to inherit; the
  /// priority is fixed, so that the caller's does not reach the order of jobs.
  private func makeTask(_ body: sending @escaping () async -> Void) -> Task<Void, Never> {
    Task(executorPreference: executor, priority: .medium, operation: body)
  }

  private func preconditionOutside(_ name: String) {
    if WorldThread.current != nil {
      trap("\(name) was called on a World's own thread, which would wait for itself: use run")
    }
  }

  private func preconditionNotSimulating() {
    if let current = World.current, current.isSimulated {
      trap("a task of a simulated World (seed \(current.seed)) entered another World")
    }
  }
}

extension SimulatedExecutor {
  /// Drives on a thread made for it, while the calling task is suspended.
  fileprivate func driveOnOwnThread(until isDone: @escaping @Sendable () -> Bool) async {
    await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
      PlatformThread.start {
        self.drive(until: isDone)
        continuation.resume()
      }
    }
  }
}
