internal import BackupJob
internal import BlockLayer
internal import Execution

/// Runs one job to its end.
struct CopyRun: Sendable {
  let graph: BlockGraph
  let onProgress: @Sendable (JobProgress) -> Bool

  /// Runs the job that `spec` says; answers the bytes that it copied.
  ///
  /// Cancelled, it throws `cancelled`.
  func run(_ spec: BackupSpec) async throws(BlockError) -> Int {
    do throws(JobError) {
      let job = try await JobRegistry(graph: graph).backup(spec)
      var pause: UInt64 = 1_000_000
      while job.result == nil {
        _ = await graph.world.sleep(nanoseconds: pause)
        pause = min(2 * pause, 20_000_000)  // a small job is not waited for longer than it takes
        if !onProgress(job.progress), job.result == nil { try? job.cancel() }
      }
      switch await job.wait() {
      case .success: return job.progress.current
      case .failure(let error): throw error
      case .cancelled: throw JobError(.cancelled, "Operation canceled")
      }
    } catch {
      if error.code == .cancelled {
        throw BlockError(.cancelled, "the run was cancelled; nothing has changed", cause: error)
      }
      throw BlockError(error.block?.code ?? .io, error.message, cause: error)
    }
  }
}
