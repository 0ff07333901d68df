import BlockLayer
import Execution
import Synchronization

@testable import BackupJob

/// A job's body that does what the test says, when the test says so.
final class ScriptedBody: JobBody {
  private struct State {
    var runs = true
    var finishes = true
    var failure: JobError?
    var progress = JobProgress(current: 0, total: 0)
    var ending: JobEnding?
  }
  private let state = Mutex(State())
  private let world: World

  init(_ world: World) { self.world = world }

  var progress: JobProgress { state.withLock { $0.progress } }
  /// How the job told it to finish; nil until it did.
  var ending: JobEnding? { state.withLock { $0.ending } }

  func jobDidChange() {}

  /// Keeps the work going on, or the finish, until they are let end.
  func hold(work: Bool = false, finish: Bool = false) {
    state.withLock { state in
      state.runs = !work
      state.finishes = !finish
    }
  }

  func fail(_ error: JobError) { state.withLock { $0.failure = error } }

  func run(_ job: Job) async throws(JobError) {
    while await job.pausePoint() {
      if let failure = state.withLock({ $0.failure }) { throw failure }
      if state.withLock({ $0.runs }) { return }
      await world.sleep(nanoseconds: 1_000_000)
    }
  }

  func finish(_ job: Job, _ ending: JobEnding) async {
    while !state.withLock({ $0.finishes }) { await world.sleep(nanoseconds: 1_000_000) }
    state.withLock { $0.ending = ending }
  }
}

/// A registry and a job with a scripted body.
struct ScriptedJob: Sendable {
  let world: World
  let jobs: JobRegistry
  let body: ScriptedBody
  let job: Job

  init(
    _ world: World, id: String = "j", autoFinalize: Bool = true, autoDismiss: Bool = true
  ) throws {
    self.world = world
    jobs = JobRegistry(graph: BlockGraph(world: world, registry: DriverRegistry()))
    body = ScriptedBody(world)
    job = Job(
      id: id, type: "backup", speed: 0, autoFinalize: autoFinalize, autoDismiss: autoDismiss,
      registry: jobs, body: body)
    try jobs.add(job)
  }

  /// Brings the job to `status`, where it stays until it is asked for more.
  func bring(to status: JobStatus) async throws {
    switch status {
    case .created: break
    case .running:
      body.hold(work: true)
      job.start()
    case .paused:
      try await bring(to: .running)
      try job.pause()
    case .pending: job.start()
    case .aborting:
      body.hold(finish: true)
      body.fail(JobError(.block, "Input/output error"))
      job.start()
    case .concluded: job.start()
    case .waiting, .null: preconditionFailure("no job stays there")
    }
    while job.status != status { await world.sleep(nanoseconds: 1_000_000) }
  }

  /// Lets the job end, whatever state it is in.
  func end() async {
    body.hold()
    try? job.cancel()
    _ = await job.wait()
  }
}
