internal import BlockLayer
internal import Execution

/// Backups.
extension JobRegistry {
  /// Checks `spec`, makes the backup's moment, and starts the copying.
  ///
  /// Everything is as it was when this throws. Guests of the source go on meanwhile. Not to be
  /// called while holding `graph.changes`, which this waits for.
  ///
  /// Source: QMP's `blockdev-backup`, whose error texts these are.
  public func backup(_ spec: BackupSpec) async throws(JobError) -> Job {
    await graph.changes.lock()
    defer { graph.changes.unlock() }
    let job = try await prepareBackup(spec, JobGroup(held: true))
    job.commit()
    return job
  }

  /// Checks `spec` and makes the backup's moment: what the source holds now is what the target will
  /// hold.
  ///
  /// `Job.start()` begins the copying, `Job.cancel(force:)` undoes it.
  ///
  /// From now on guests' writes to the source are preceded by copies, and the bitmap is busy.
  /// Everything is as it was when this throws. Not to be called while holding `graph.changes`,
  /// which this waits for.
  public func prepareBackup(_ spec: BackupSpec) async throws(JobError) -> Job {
    await graph.changes.lock()
    defer { graph.changes.unlock() }
    let job = try await prepareBackup(spec, JobGroup(held: true))
    job.group.release()
    return job
  }

  /// Prepares a backup as part of a change of the graph; its group is held.
  ///
  /// `ownsTarget`: the target is the job's own, to be closed at its end. When this throws, it is
  /// the caller's still.
  func prepareBackup(
    _ spec: BackupSpec, _ group: JobGroup, ownsTarget: Bool = false
  ) async throws(JobError) -> Job {
    let plan = try BackupPlan(spec, self)
    let body = try await makeBody(plan, ownsTarget)
    do throws(JobError) {
      try plan.checkChunk()
      return try await makeJob(plan, body, group)
    } catch {
      await body.dismantle()
      throw error
    }
  }

  /// Makes the filter, connected to nothing above.
  private func makeBody(
    _ plan: BackupPlan, _ ownsTarget: Bool
  ) async throws(JobError) -> BackupJob {
    do throws(BlockError) {
      let driver = try CopyBeforeWriteDriver(
        source: plan.source, target: plan.target, clusterSize: plan.clusterSize,
        compresses: plan.spec.compresses)
      let filter = try graph.addNode(
        driver, name: plan.spec.filterNodeName,
        options: NodeOptions(
          isReadOnly: plan.source.isReadOnly, discard: plan.source.options.discard))
      do throws(BlockError) {
        return try BackupJob(
          plan, filter: filter, driver: driver, graph: graph, ownsTarget: ownsTarget)
      } catch {
        driver.detach()
        try await graph.close(filter)
        throw error
      }
    } catch {
      throw JobError(.block, "Could not create node: \(error.message)", cause: error)
    }
  }

  private func makeJob(
    _ plan: BackupPlan, _ body: BackupJob, _ group: JobGroup
  ) async throws(JobError) -> Job {
    let job = Job(
      id: plan.jobID, type: "backup", speed: plan.spec.speed,
      autoFinalize: plan.spec.autoFinalize, autoDismiss: plan.spec.autoDismiss, registry: self,
      body: body, group: group)
    do throws(JobError) {
      try add(job)
    } catch {
      group.remove(job)
      throw error
    }
    do throws(JobError) {
      try Job.check(speed: plan.spec.speed)
      try await body.attach(job)
    } catch {
      job.withdraw(error)
      throw error
    }
    return job
  }
}
