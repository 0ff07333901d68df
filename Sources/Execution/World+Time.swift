extension World {
  /// The seconds since the beginning of 1970 in UTC: for what people read, never for measuring.
  ///
  /// A simulated World begins on 1 January 2020.
  public var secondsSince1970: Int {
    isSimulated
      ? 1_577_836_800 + Int(now.nanoseconds / 1_000_000_000) : PlatformThread.secondsSince1970()
  }

  /// The time on this World's clock.
  public var now: WorldInstant { WorldInstant(nanoseconds: executor.nowNanoseconds) }

  /// Suspends for `nanoseconds` of this World's time.
  ///
  /// Returns false, early, when the calling task is cancelled. A scheduling point even when
  /// `nanoseconds` is 0.
  @discardableResult
  public func sleep(nanoseconds: UInt64) async -> Bool {
    await sleep(until: now.advanced(byNanoseconds: nanoseconds))
  }

  /// Suspends until this World's clock reads `instant`, or not at all when it does already.
  ///
  /// Returns false, early, when the calling task is cancelled.
  @discardableResult
  public func sleep(until instant: WorldInstant) async -> Bool {
    let executor = executor
    let timer = executor.reserveTimer()
    return await withTaskCancellationHandler {
      await withUnsafeContinuation { waiting in
        if !executor.addTimer(timer, waiting, atNanoseconds: instant.nanoseconds) {
          waiting.resume(returning: false)
        }
      }
    } onCancel: {
      executor.removeTimer(timer)?.resume(returning: false)
    }
  }

  /// Lets other tasks of this World run: a scheduling point.
  ///
  /// In a simulated World the seed chooses who goes on. Does not observe cancellation.
  public func yield() async {
    let executor = executor
    _ = await withUnsafeContinuation { continuation in executor.park(continuation) }
  }

  /// Tells that the calling thread is about to block in a system call for longer than some ten
  /// microseconds: a job that waits to run right after the present one goes to the shared queue,
  /// where an idle thread takes it.
  ///
  /// Costs a few nanoseconds when no job waits.
  public static func willBlock() {
    WorldThread.shareRunNext()
  }
}
