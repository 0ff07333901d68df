/// The threads of a threaded World and the queue they share.
///
/// Everything but the two constants is guarded by `condition`. A thread is woken only when one is
/// idle: a push to a busy pool costs a lock, not a system call.
internal final class JobPool: @unchecked Sendable {
  // Sendable: see above; `executor` is set once, before the first thread starts.
  let identity: WorldIdentity
  var executor: UnownedTaskExecutor?

  private let condition = ThreadCondition()
  private var queue = FIFOQueue<Runnable>()
  private var timers = DeadlineQueue()
  /// Threads asleep on the condition.
  private var idleThreads = 0
  /// Whether one of them has been signalled and has not taken the lock yet.
  private var isWaking = false
  private var liveThreads = 0
  private var isStopping = false

  init(identity: WorldIdentity) { self.identity = identity }

  func startThreads(_ count: Int) {
    condition.withLock { liveThreads = count }
    for _ in 0..<count { PlatformThread.start { self.threadMain() } }
  }

  /// Adds to the end of the shared queue.
  func push(_ runnable: Runnable) {
    condition.withLock {
      if isStopping { trap("a job was enqueued on a World that has been shut down") }
      queue.append(runnable)
      wakeOne()
    }
  }

  /// Adds to the end of the shared queue from a thread that is about to look there itself: nobody
  /// is woken for what is alone in the queue.
  func pushForSelf(_ runnable: Runnable) {
    condition.withLock {
      let isAlone = queue.isEmpty
      queue.append(runnable)
      if !isAlone { wakeOne() }
    }
  }

  func reserveTimer() -> UInt64 { condition.withLock { timers.reserve() } }

  /// Adds a timer on the monotonic clock, or returns false when the calling task is cancelled:
  /// looked at under the lock, so that a later cancellation finds the timer.
  func addTimer(_ timer: UInt64, _ waiting: Waiting, deadline: UInt64) -> Bool {
    condition.withLock {
      if Task.isCancelled { return false }
      let isEarliest = timers.earliest.map { deadline < $0 } ?? true
      timers.add(waiting, timer: timer, deadline: deadline)
      // Sleepers wait until the deadline that was earliest before: let them look again.
      if isEarliest, idleThreads > 0 { condition.broadcast() }
      return true
    }
  }

  func removeTimer(_ timer: UInt64) -> Waiting? {
    condition.withLock { timers.remove(timer) }
  }

  /// Lets the threads end once the queue is empty.
  ///
  /// Does not wait for them.
  func stop() {
    condition.withLock {
      isStopping = true
      condition.broadcast()
    }
  }

  /// Waits until every thread has left its loop.
  ///
  /// Not to be called from one of them.
  func waitForThreads() {
    condition.withLock {
      while liveThreads > 0 { condition.wait() }
    }
  }

  private func threadMain() {
    guard let executor else { trap("a World's thread was started before its executor was whole") }
    let thread = WorldThread(identity, pool: self)
    thread.serve {
      while let runnable = next() {
        thread.refillBudget()
        switch runnable {
        case .job(let job): job.runSynchronously(on: executor)
        case .parked(let waiting): waiting.resume(returning: true)
        }
        while let job = thread.takeRunNext() { job.runSynchronously(on: executor) }
      }
    }
  }

  /// The next thing to run, after sleeping if there is none; nil when the thread is to end.
  private func next() -> Runnable? {
    condition.withLock {
      var hasSlept = false
      while true {
        takeDueTimers()
        if let runnable = queue.popFirst() {
          if hasSlept, !queue.isEmpty { wakeOne() }
          return runnable
        }
        if isStopping { break }
        sleep()
        hasSlept = true
      }
      liveThreads -= 1
      condition.broadcast()
      return nil
    }
  }

  private func takeDueTimers() {
    guard !timers.isEmpty else { return }
    let now = PlatformThread.monotonicNanoseconds()
    while let waiting = timers.popDue(now) {
      queue.append(.parked(waiting))
      if queue.count > 1 { wakeOne() }
    }
  }

  private func sleep() {
    idleThreads += 1
    if let deadline = timers.earliest {
      condition.wait(untilNanoseconds: deadline)
    } else {
      condition.wait()
    }
    idleThreads -= 1
    isWaking = false
  }

  /// Wakes an idle thread, unless one is on its way already: that one wakes the next if there is
  /// more than it can take.
  ///
  /// So a burst of small jobs does not cost a system call each.
  private func wakeOne() {
    guard idleThreads > 0, !isWaking else { return }
    isWaking = true
    condition.signal()
  }
}
