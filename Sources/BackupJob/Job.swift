internal import BlockLayer
public import Execution
internal import Synchronization

/// A long piece of work on the graph, which its user can watch, pause and cancel.
///
/// Make one with a `JobRegistry`; it is checked and in place then, and runs once it is started.
/// What it does is its `JobBody`'s; this class is its state machine (`JobStatus`). Commands may be
/// given from anywhere; call what is asynchronous inside `world.run { … }`.
///
/// Source: QMP's `job-*` and `block-job-*` commands.
public final class Job: Sendable {
  /// The name, unique among the jobs that are not dismissed.
  public let id: String
  /// The kind of work: `backup`.
  public let type: String
  /// Whether the job goes on by itself from `pending` to `concluded`.
  public let isAutoFinalizing: Bool
  /// Whether the job forgets itself once it is concluded.
  public let isAutoDismissing: Bool

  let registry: JobRegistry
  let body: any JobBody
  let group: JobGroup
  let state: Mutex<State>

  struct State {
    var status = JobStatus.created
    var speed: Int
    var isStarted = false
    var isUserPaused = false
    var isCancelled = false
    /// Whether the job ended before it started.
    var isUnstarted = false
    /// Whether the work is over.
    var isAtRest = false
    /// Why the work failed.
    var failure: JobError?
    /// Whether somebody waits at a pause point.
    var isParked = false
    /// Requests of the job's own that are under way.
    var activeWork = 0
    var result: JobResult?
    /// The progress as it was when the job concluded.
    var lastProgress: JobProgress?
    var waiters: [CheckedContinuation<Bool, Never>] = []
  }

  init(
    id: String, type: String, speed: Int, autoFinalize: Bool, autoDismiss: Bool,
    registry: JobRegistry, body: any JobBody, group: JobGroup = JobGroup()
  ) {
    self.id = id
    self.type = type
    isAutoFinalizing = autoFinalize
    isAutoDismissing = autoDismiss
    self.registry = registry
    self.body = body
    self.group = group
    state = Mutex(State(speed: speed))
    group.add(self)
  }

  /// The World whose threads run the job.
  public var world: World { registry.graph.world }

  /// The present state.
  public var status: JobStatus { state.withLock { $0.status } }

  /// The speed limit in bytes a second; 0 for none.
  public var speed: Int { state.withLock { $0.speed } }

  /// How far the job is.
  public var progress: JobProgress { state.withLock { $0.lastProgress } ?? body.progress }

  /// How the job ended; nil until it is concluded.
  public var result: JobResult? { state.withLock { $0.result } }

  /// What queries tell of the job.
  public var info: JobInfo {
    let progress = progress
    return state.withLock { state in
      JobInfo(
        id: id, type: type, status: state.status, progress: progress, speed: state.speed,
        isPaused: state.isUserPaused, isAutoFinalizing: isAutoFinalizing,
        isAutoDismissing: isAutoDismissing, error: state.result?.error?.message)
    }
  }

  /// Waits until the job is concluded, and tells how it ended.
  public func wait() async -> JobResult {
    await wait { $0.result == nil }
    return result ?? .cancelled
  }

  /// Waits until the job is in one of `states`, or is concluded.
  public func wait(for states: Set<JobStatus>) async {
    await wait { !states.contains($0.status) && $0.result == nil }
  }

  /// Waits as long as `mustWait`, looked at anew after each change.
  func wait(while mustWait: @Sendable (inout State) -> Bool) async {
    var isWaiting = true
    while isWaiting {
      isWaiting = await withCheckedContinuation { continuation in
        let isQueued = state.withLock { state in
          guard mustWait(&state) else { return false }
          state.waiters.append(continuation)
          return true
        }
        if !isQueued { continuation.resume(returning: false) }
      }
    }
  }

  /// Changes the state; then those who wait, and the body, look again.
  func changing<T: Sendable, Failure: Error>(
    _ change: (inout State) throws(Failure) -> T
  ) throws(Failure) -> T {
    let (result, woken) = try state.withLock { state throws(Failure) in
      let result = try change(&state)
      defer { state.waiters = [] }
      return (result, state.waiters)
    }
    for waiter in woken { waiter.resume(returning: true) }
    body.jobDidChange()
    return result
  }

  /// Goes into another state, and says so.
  ///
  /// Under the lock, so that events have the order of the changes.
  func become(_ status: JobStatus, _ state: inout State) {
    precondition(
      state.status.canBecome(status),
      "a job in state '\(state.status.rawValue)' cannot become '\(status.rawValue)'")
    state.status = status
    registry.events.append(.statusChanged(id: id, status: status))
  }
}

/// What a kind of job does; `Job` decides when.
protocol JobBody: AnyObject, Sendable {
  /// How far the work is.
  var progress: JobProgress { get }

  /// Does the work, coming to `Job.pausePoint()` often. It returns early when that says so.
  func run(_ job: Job) async throws(JobError)

  /// Makes the work's result valid, or undoes it, and takes the job's traces off the graph.
  ///
  /// The caller holds the graph's `changes`.
  func finish(_ job: Job, _ ending: JobEnding) async

  /// Somebody paused, resumed or cancelled the job: what waits must look.
  func jobDidChange()
}

/// How a job's work ends: what decides about bitmaps.
enum JobEnding: Sendable, CaseIterable {
  case success, failure, cancel
}

/// How a job ended.
public enum JobResult: Sendable, Equatable {
  /// All work was done.
  case success
  /// The work failed.
  case failure(JobError)
  /// A user, or another member of the job's group, cancelled it.
  case cancelled

  /// What went wrong, if anything.
  public var error: JobError? {
    switch self {
    case .success: nil
    case .failure(let error): error
    case .cancelled: .cancelled
    }
  }
}

/// What queries tell of a job.
///
/// Source: the QMP schema's `JobInfo` and `BlockJobInfo`.
public struct JobInfo: Sendable, Equatable {
  /// The name.
  public var id: String
  /// The kind of work: `backup`.
  public var type: String
  /// The state.
  public var status: JobStatus
  /// How far it is.
  public var progress: JobProgress
  /// The speed limit in bytes a second; 0 for none.
  public var speed: Int
  /// Whether a user paused it.
  public var isPaused: Bool
  /// Whether it goes on by itself from `pending`.
  public var isAutoFinalizing: Bool
  /// Whether it forgets itself.
  public var isAutoDismissing: Bool
  /// Why it failed.
  public var error: String?
}
