/// A `TaskExecutor` on threads of its own, which may block in system calls.
///
/// The executor is what tasks keep alive; the threads keep only the `JobPool`. So when the World
/// and its last task are gone, nothing can be enqueued any more, and the threads end.
internal final class ThreadedExecutor: WorldExecutor {
  let pool: JobPool
  private let originNanoseconds = PlatformThread.monotonicNanoseconds()

  init(identity: WorldIdentity) {
    pool = JobPool(identity: identity)
    pool.executor = UnownedTaskExecutor(ordinary: self)
  }

  deinit { pool.stop() }

  /// Starts the threads; called once, when the World is whole.
  func startThreads(_ count: Int) { pool.startThreads(count) }

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    switch WorldThread.offerRunNext(job, pool.identity) {
    case .taken: break
    case .spent: pool.pushForSelf(.job(job))
    case .occupied, .elsewhere: pool.push(.job(job))
    }
  }

  var nowNanoseconds: UInt64 { PlatformThread.monotonicNanoseconds() - originNanoseconds }

  func park(_ waiting: Waiting) {
    if WorldThread.isServing(pool.identity) {
      pool.pushForSelf(.parked(waiting))
    } else {
      pool.push(.parked(waiting))
    }
  }

  func reserveTimer() -> UInt64 { pool.reserveTimer() }

  func addTimer(
    _ timer: UInt64, _ waiting: Waiting, atNanoseconds deadlineNanoseconds: UInt64
  ) -> Bool {
    let (deadline, overflow) = deadlineNanoseconds.addingReportingOverflow(originNanoseconds)
    return pool.addTimer(timer, waiting, deadline: overflow ? .max : deadline)
  }

  func removeTimer(_ timer: UInt64) -> Waiting? { pool.removeTimer(timer) }

  func cancel(_ task: Task<Void, Never>) { task.cancel() }
}
