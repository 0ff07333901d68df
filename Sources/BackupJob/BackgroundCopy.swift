internal import BlockLayer
internal import Execution
internal import Primitives
internal import Synchronization

/// The walk of a backup over its disk: a number of workers that pull from one cursor, each with a
/// buffer of its own, until nothing is left to be copied.
///
/// One worker at a time has the turn: it sees to pause and speed, and claims. Copying needs none.
/// Lock order: `turn`, then the job's state, the limit, the engine's state, each for itself.
final class BackgroundCopy: Sendable {
  private let engine: CopyEngine
  private let job: Job
  private let spec: BackupSpec
  /// The longest claim in bytes: whole clusters.
  private let chunk: Int
  private let turn = AsyncMutex()
  private let limit = Mutex(RateLimit())
  private let failure = Mutex<CopyFailure?>(nil)

  init(_ engine: CopyEngine, _ job: Job, _ spec: BackupSpec) {
    self.engine = engine
    self.job = job
    self.spec = spec
    let wanted = spec.maxChunk > 0 ? spec.maxChunk : CopyLimits.chunkByteCount
    chunk = engine.bufferByteCount(maxLength: min(wanted, CopyLimits.bufferByteCount))
  }

  /// Copies all; returns early when the job is cancelled, and throws the first failure of a request
  /// that the job was not to survive.
  func run() async throws(CopyFailure) {
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<workerCount { group.addTask { await self.work() } }
    }
    if let failure = failure.withLock({ $0 }) { throw failure }
  }

  private var workerCount: Int {
    let chunks = engine.length.dividedRoundingUp(by: chunk)
    return min(spec.maxWorkers, max(1, CopyLimits.bufferByteCount / chunk), max(1, chunks))
  }

  private func work() async {
    var buffer = IOBuffer(byteCount: chunk)
    while let task = await pull() {
      do throws(CopyFailure) {
        try await engine.copy(
          task, through: &buffer, zeroLimit: zeroLimit, sparesZeros: spec.sync == .full)
      } catch {
        failed(error)
      }
      engine.endBackgroundTask()
      job.endWork()
    }
  }

  /// Zeros in bulk, unless the user limits what is done at once.
  private var zeroLimit: Int {
    spec.maxChunk > 0 || job.speed > 0 ? 0 : CopyLimits.zeroByteCount
  }

  /// The next piece of work, begun; nil when there is none, or none to be done.
  private func pull() async -> CopyTask? {
    while true {
      let claim = await turn.withLock { await claimInTurn() }
      switch claim {
      case .task(let task): return task
      case .done: return nil
      case .busy(let version): await engine.waitForChange(after: version)
      }
    }
  }

  private func claimInTurn() async -> CopyClaim {
    while await job.pausePoint(), failure.withLock({ $0 == nil }) {
      let world = job.world
      let delay = limit.withLock { $0.delay(at: world.now, speed: job.speed) }
      if delay > 0 {
        // No longer than a slice, so that a changed limit, a pause or a cancellation is seen.
        await world.sleep(nanoseconds: min(delay, RateLimit.sliceNanoseconds))
        continue
      }
      let claim = await engine.beginBackgroundTask(maxLength: chunk)
      if case .task(let task) = claim {
        job.beginWork()
        limit.withLock { $0.charge(task.range.count, at: world.now) }
      }
      return claim
    }
    return .done
  }

  private func failed(_ error: CopyFailure) {
    let policy = error.operation == .read ? spec.onSourceError : spec.onTargetError
    let action = policy.action(for: error.error)
    job.report(operation: error.operation.rawValue, action: action)
    switch action {
    case .report:
      failure.withLock { first in if first == nil { first = error } }
      engine.wakeWaiters()
    }
  }
}
