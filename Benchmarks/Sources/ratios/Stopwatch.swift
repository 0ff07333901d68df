internal import Foundation

/// Reads time.
enum Stopwatch {
  /// Which time.
  enum Time {
    /// The time that passes: what requests take.
    case wall
    /// The time that the processor spends on the calling thread: what computing takes, whoever else
    /// wants the processor meanwhile. Caches are shared all the same.
    case processor
    /// The time that processors spend on all threads of the process.
    case process
  }

  /// The nanoseconds since some start.
  static func nanoseconds(_ time: Time) -> Double {
    var value = timespec()
    switch time {
    case .wall: clock_gettime(CLOCK_MONOTONIC, &value)
    case .processor: clock_gettime(CLOCK_THREAD_CPUTIME_ID, &value)
    case .process: clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &value)
    }
    return Double(value.tv_sec) * 1e9 + Double(value.tv_nsec)
  }
}
