internal import BlockLayer
internal import Execution
internal import Synchronization

/// Jobs that end together: all succeed, or none does.
///
/// Every job is in one; most are alone in it. The group decides how its members end, and takes them
/// there, the newest first: QEMU's order.
///
///     prepared ──start──▶ working ──all at rest──▶ pending ──finalize──▶ ending: success
///         │                  │                        │
///         │cancel            │cancel, a failure       │cancel
///         ▼                  ▼                        ▼
///      aborting ◀────────────┴────────────────────────┘ ──all at rest──▶ ending: abort
///
/// - *Held*: the members are being put in place, and whoever does that may still undo them. Nobody
///   else starts or ends one: a cancellation is noted, and acts on the release.
/// - *Working*: members whose work is done are `waiting` for the others.
/// - *Pending*: all are done. The group goes on at once if all its members finalize themselves,
///   else with the first command to finalize one of them.
/// - *Aborting*: a member failed or was cancelled, and so are all others; those that work still
///   come to rest first, so that no bitmap is settled while one copies.
/// - *Ending*: it is decided, and nothing stops it any more.
///
/// Lock order: the group's state, a member's, the registry's.
final class JobGroup: Sendable {
  private struct State {
    var members: [Job] = []  // newest first
    var isHeld = false
    var isAborting = false
    var isEnding = false
  }
  private let state: Mutex<State>

  /// Makes an empty group, whose members nobody else may end if it is `held`.
  init(held: Bool = false) { state = Mutex(State(isHeld: held)) }

  func add(_ job: Job) { state.withLock { $0.members.insert(job, at: 0) } }

  /// Takes out a member that has not begun.
  func remove(_ job: Job) { state.withLock { state in state.members.removeAll { $0 === job } } }

  // MARK: - From the start to rest

  /// All members are in place: they are everybody's now; what was cancelled meanwhile ends.
  func release() {
    let isReady = state.withLock { state in
      state.isHeld = false
      return state.isAborting ? Self.abort(&state) : false
    }
    if isReady { endSoon() }
  }

  /// Starts every member before the first can end, unless the group is held.
  func start() {
    let (started, isReady) = state.withLock { state -> ([Job], Bool) in
      guard !state.isHeld else { return ([], false) }
      guard !state.isAborting else { return ([], Self.abort(&state)) }
      return (state.members.reversed().filter { $0.begin() }, false)
    }
    for job in started { job.drive() }
    if isReady { endSoon() }
  }

  /// A member's work is over.
  func rest(_ job: Job, _ failure: JobError?) async {
    let isReady = state.withLock { state in
      if job.rest(failure) {
        state.isAborting = true
        return Self.abort(&state, except: job)
      }
      return Self.proceed(&state)
    }
    if isReady { await end() }
  }

  /// Cancels the members that are not at their end; answers whether all are at rest.
  private static func abort(_ state: inout State, except failed: Job? = nil) -> Bool {
    #if MUTANT_GROUP_CANCEL_SKIPPED
    let others = failed == nil ? state.members : []
    #else
    let others = state.members
    #endif
    for job in others where job !== failed { job.cancelFromGroup() }
    return proceed(&state)
  }

  /// Takes the next step if every member is ready for it; answers whether the group is to end now.
  private static func proceed(_ state: inout State) -> Bool {
    guard !state.isEnding, state.members.allSatisfy(\.isAtRest) else { return false }
    if !state.isAborting {
      for job in state.members { job.becomePending() }
      guard state.members.allSatisfy(\.isAutoFinalizing) else { return false }
    }
    state.isEnding = true
    return true
  }

  // MARK: - Commands

  /// Cancels a member, and with it all.
  func cancel(_ job: Job, force: Bool) throws(JobError) {
    let isReady = try state.withLock { state throws(JobError) in
      try job.noteCancellation(force: force, isEnding: state.isEnding)
      state.isAborting = true
      return state.isHeld ? false : Self.abort(&state)
    }
    if isReady { endSoon() }
  }

  /// Finalizes all members; returns when they are concluded.
  func finalize(_ job: Job) async throws(JobError) {
    let members = try state.withLock { state throws(JobError) in
      guard job.status.admits(.finalize), !state.isEnding else {
        throw .refused(.finalize, job.id, job.status)
      }
      state.isEnding = true
      return state.members
    }
    endSoon()
    for member in members { _ = await member.wait() }
  }

  // MARK: - The end

  private func endSoon() {
    guard let world = state.withLock({ $0.members.first?.world }) else { return }
    world.spawn { await self.end() }
  }

  /// Ends every member, the newest first.
  ///
  /// As one change of the graph: no transaction sees a part of the group ended.
  private func end() async {
    let members = state.withLock { $0.members }
    guard let graph = members.first?.registry.graph else { return }
    await graph.changes.lock()
    defer { graph.changes.unlock() }
    for job in members { await job.end() }
    state.withLock { $0.members = [] }
  }
}
