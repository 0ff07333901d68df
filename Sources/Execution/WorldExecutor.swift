/// A task that waits inside a primitive of this module; resumed with false when its wait ended
/// without what it waited for.
internal typealias Waiting = UnsafeContinuation<Bool, Never>

/// What an executor's queue holds.
internal enum Runnable {
  /// A job of the Swift runtime.
  case job(UnownedJob)
  /// A task parked by `World.yield()` or a sleep, to be resumed with true when its turn comes.
  case parked(Waiting)
}

/// The part of a World that the two kinds do differently.
internal protocol WorldExecutor: TaskExecutor {
  /// Nanoseconds since the World was made.
  var nowNanoseconds: UInt64 { get }

  /// Puts a parked task at the end of the run queue.
  func park(_ waiting: Waiting)

  /// A number for one timer.
  func reserveTimer() -> UInt64

  /// Resumes `waiting` with true at `deadlineNanoseconds`, unless the calling task is cancelled
  /// already: then it returns false and keeps nothing.
  func addTimer(
    _ timer: UInt64, _ waiting: Waiting, atNanoseconds deadlineNanoseconds: UInt64
  ) -> Bool

  /// Takes the timer out and hands back its task, or nil when it has fired already.
  func removeTimer(_ timer: UInt64) -> Waiting?

  /// Cancels a task of this World on behalf of a thread that may not belong to it.
  func cancel(_ task: Task<Void, Never>)
}
