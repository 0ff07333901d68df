internal import BlockLayer
internal import DirtyBitmap
internal import Execution

/// The body of a backup job: copies the source as it was at the job's start to the target, while
/// guests go on writing.
///
/// Its life: `BackupPlan` checks everything → `attach` marks what is to be copied, freezes the
/// bitmap and puts the filter above the source, all in one moment without requests → `run` copies →
/// `finish` gives the bitmap its contents and takes the filter out, again in one moment.
final class BackupJob: JobBody {
  private let plan: BackupPlan
  private let filter: BlockNode
  private let driver: CopyBeforeWriteDriver
  private let graph: BlockGraph
  /// Keeps the filter in use although nobody may be above it, and its length.
  private let hold: BlockEdge
  /// Whether the target is closed at the job's end.
  private let ownsTarget: Bool

  private var engine: CopyEngine { driver.engine }

  init(
    _ plan: BackupPlan, filter: BlockNode, driver: CopyBeforeWriteDriver, graph: BlockGraph,
    ownsTarget: Bool
  ) throws(BlockError) {
    self.plan = plan
    self.filter = filter
    self.driver = driver
    self.graph = graph
    self.ownsTarget = ownsTarget
    hold = try BlockEdge(
      .root, to: filter,
      permissions: EdgePermissions(taken: [], shared: .all.subtracting(.resize)),
      user: "backup job '\(plan.jobID)'")
  }

  var progress: JobProgress {
    let progress = engine.progress
    return JobProgress(current: progress.completed, total: progress.total)
  }

  func jobDidChange() { engine.wakeWaiters() }

  // MARK: - Into the graph

  /// Makes the backup's moment: what the source holds now is what the target will hold.
  ///
  /// Throws, with everything as it was, when the bitmap or the graph refuses.
  func attach(_ job: Job) async throws(JobError) {
    #if MUTANT_FREEZE_BEFORE_DRAIN
    try plan.spec.sync.mark(engine, from: plan.bitmap)
    try freeze()
    #endif
    try await graph.drained(plan.source) { () async throws(JobError) in
      // The request that the drain waited for may have been followed by a resize.
      guard plan.source.length == engine.length, plan.target.length == engine.length else {
        throw BackupPlan.differentLengths
      }
      #if !MUTANT_FREEZE_BEFORE_DRAIN
      try plan.spec.sync.mark(engine, from: plan.bitmap)
      try freeze()
      #endif
      driver.activate()
      do throws(BlockError) {
        try await graph.insert(filter: filter, above: plan.source)
      } catch {
        driver.deactivate()
        plan.bitmap?.reclaim()
        throw JobError.block(error)
      }
    }
    job.registry.block(filter, for: job)
    job.registry.block(plan.target, for: job)
  }

  private func freeze() throws(JobError) {
    do {
      try plan.bitmap?.freeze()
    } catch {
      throw JobError(.bitmap, error.message, cause: error)
    }
  }

  /// Lets go of the nodes of a filter that has no users.
  func dismantle() async {
    hold.detach()
    driver.detach()
    do {
      try await graph.close(filter)
    } catch {
      preconditionFailure("a filter that is out of the graph did not close: \(error)")
    }
  }

  // MARK: - Work

  func run(_ job: Job) async throws(JobError) {
    do throws(CopyFailure) {
      if plan.spec.sync == .top { try await unmarkUnallocated(job) }
      if plan.spec.sync.isFinite {
        try await BackgroundCopy(engine, job, plan.spec).run()
      } else {
        await job.waitUntilCancelled()
      }
      if await job.pausePoint() { try await flushTarget(job) }
    } catch {
      throw JobError.failed(error.error)
    }
  }

  private func unmarkUnallocated(_ job: Job) async throws(CopyFailure) {
    do throws(BlockError) {
      try await engine.unmarkUnallocated(in: plan.source) { await job.pausePoint() }
    } catch {
      job.report(operation: CopyFailure.Operation.read.rawValue, action: .report)
      throw CopyFailure(.read, error)
    }
  }

  /// A backup that is called done is on the disk, metadata included.
  private func flushTarget(_ job: Job) async throws(CopyFailure) {
    do {
      try await plan.target.flush()
    } catch {
      job.report(operation: CopyFailure.Operation.write.rawValue, action: .report)
      throw CopyFailure(.write, error)
    }
  }

  // MARK: - Out of the graph

  func finish(_ job: Job, _ ending: JobEnding) async {
    await graph.drained(plan.source) {
      await settleBitmap(ending)
      driver.deactivate()
      hold.detach()
      do {
        try await graph.remove(filter: filter)
      } catch {
        // What shared the filter with others shares the node below it.
        preconditionFailure("a filter could not be taken out: \(error)")
      }
    }
    await dismantle()
    job.registry.unblock(job)
    if ownsTarget { await closeTarget(job) }
  }

  /// Closes the job's own target; one that somebody else has come to use stays open.
  ///
  /// What was copied for guests since the last flush is made durable here either way.
  private func closeTarget(_ job: Job) async {
    do {
      if plan.target.parentEdges.isEmpty {
        try await plan.target.close(in: graph, keeping: plan.source)
      } else {
        try await plan.target.flush()
      }
    } catch {
      job.report(operation: CopyFailure.Operation.write.rawValue, action: .report)
    }
  }

  private func settleBitmap(_ ending: JobEnding) async {
    guard let bitmap = plan.bitmap else { return }
    var outcome = BitmapOutcome.after(ending, plan.bitmapMode)
    if outcome.needsDurableTarget {
      var isDurable = true
      do { try await plan.target.flush() } catch { isDurable = false }
      outcome = .after(ending, plan.bitmapMode, isTargetDurable: isDurable)
    }
    outcome.apply(to: bitmap, of: plan.source, pending: engine.pendingRuns())
  }
}
