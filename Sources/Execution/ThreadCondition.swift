#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// A lock with a condition to sleep on, for threads that have nothing else to do.
///
/// `Synchronization.Mutex` has no condition variable; this pairs the two of POSIX, whose addresses
/// must not move. Deadlines are on the monotonic clock.
internal final class ThreadCondition: @unchecked Sendable {
  // Sendable: the two C objects are made for being shared, and their addresses never change.
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

  init() {
    mutex.initialize(to: pthread_mutex_t())
    condition.initialize(to: pthread_cond_t())
    pthread_mutex_init(mutex, nil)
    #if canImport(Darwin)
    pthread_cond_init(condition, nil)
    #else
    var attributes = pthread_condattr_t()
    pthread_condattr_init(&attributes)
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    pthread_cond_init(condition, &attributes)
    pthread_condattr_destroy(&attributes)
    #endif
  }

  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  /// The corresponding C function is `pthread_mutex_lock`.
  func lock() { pthread_mutex_lock(mutex) }

  /// The corresponding C function is `pthread_mutex_unlock`.
  func unlock() { pthread_mutex_unlock(mutex) }

  /// Runs `body` with the lock held.
  func withLock<Result>(_ body: () -> Result) -> Result {
    lock()
    defer { unlock() }
    return body()
  }

  /// Wakes one sleeper, if there is one.
  ///
  /// The corresponding C function is `pthread_cond_signal`.
  func signal() { pthread_cond_signal(condition) }

  /// Wakes every sleeper.
  ///
  /// The corresponding C function is `pthread_cond_broadcast`.
  func broadcast() { pthread_cond_broadcast(condition) }

  /// Gives the lock up and sleeps until woken (or for no reason: check your condition again).
  ///
  /// The corresponding C function is `pthread_cond_wait`.
  func wait() { pthread_cond_wait(condition, mutex) }

  /// Like `wait()`, at most until the monotonic clock reads `deadlineNanoseconds`.
  ///
  /// The corresponding C function is `pthread_cond_timedwait`.
  func wait(untilNanoseconds deadlineNanoseconds: UInt64) {
    #if canImport(Darwin)
    let now = PlatformThread.monotonicNanoseconds()
    var time = timespec(nanoseconds: deadlineNanoseconds > now ? deadlineNanoseconds - now : 0)
    pthread_cond_timedwait_relative_np(condition, mutex, &time)
    #else
    var time = timespec(nanoseconds: deadlineNanoseconds)
    pthread_cond_timedwait(condition, mutex, &time)
    #endif
  }
}

extension timespec {
  fileprivate init(nanoseconds: UInt64) {
    self.init(
      tv_sec: Int(nanoseconds / 1_000_000_000), tv_nsec: Int(nanoseconds % 1_000_000_000))
  }
}
