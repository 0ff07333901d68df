internal import Synchronization

/// A `TaskExecutor` without threads: whoever drives it runs every job, one at a time, and the seed
/// chooses which of those that can run is next.
///
/// Exact repetition needs every job to come from the driving thread. So a job that arrives from
/// another thread while the World is driven ends the process: some task left the World.
internal final class SimulatedExecutor: WorldExecutor {
  private struct State {
    var ready: [Runnable] = []
    var clock = SimulatedClock()
    var chooser: SeededGenerator
    var trace: SimulationTrace
    var isDriven = false
    /// Set while a parked task is being resumed: its job then runs at once, as part of that step.
    var isResuming = false
    var resumed: UnownedJob?
    /// Tasks that other threads want cancelled; done between two steps.
    var cancellations: [Task<Void, Never>] = []
  }

  let identity: WorldIdentity
  let seed: UInt64
  private let stepLimit: Int
  private let state: Mutex<State>
  /// Whether `cancellations` holds something, readable without the lock.
  private let hasCancellations = Atomic(false)

  init(identity: WorldIdentity, seed: UInt64, stepLimit: Int) {
    self.identity = identity
    self.seed = seed
    self.stepLimit = stepLimit
    state = Mutex(
      State(
        chooser: SeededGenerator(seed: seed, label: "scheduling"),
        trace: SimulationTrace(seed: seed)))
  }

  // MARK: What tasks call

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    add { state in
      if state.isResuming {
        state.isResuming = false
        state.resumed = job
      } else {
        state.ready.append(.job(job))
      }
    }
  }

  func park(_ waiting: Waiting) {
    add { $0.ready.append(.parked(waiting)) }
  }

  func reserveTimer() -> UInt64 { state.withLock { $0.clock.reserve() } }

  func addTimer(
    _ timer: UInt64, _ waiting: Waiting, atNanoseconds deadlineNanoseconds: UInt64
  ) -> Bool {
    add { state in
      if Task.isCancelled { return false }
      state.clock.add(waiting, timer: timer, deadline: deadlineNanoseconds)
      return true
    }
  }

  func removeTimer(_ timer: UInt64) -> Waiting? {
    state.withLock { $0.clock.remove(timer) }
  }

  var nowNanoseconds: UInt64 { state.withLock { $0.clock.nowNanoseconds } }

  var trace: SimulationTrace { state.withLock { $0.trace } }

  func record(_ text: String) {
    add { $0.trace.record(text, nowNanoseconds: $0.clock.nowNanoseconds) }
  }

  func cancel(_ task: Task<Void, Never>) {
    let isLeftToDriver = state.withLock { state in
      guard state.isDriven, !isOwnThread else { return false }
      state.cancellations.append(task)
      return true
    }
    if isLeftToDriver { hasCancellations.store(true, ordering: .releasing) } else { task.cancel() }
  }

  private var isOwnThread: Bool { WorldThread.isServing(identity) }

  private func add<Result>(_ change: (inout State) -> Result) -> Result {
    let isOwnThread = isOwnThread
    return state.withLock { state in
      if state.isDriven, !isOwnThread {
        trap(
          "something outside of the simulated World (seed \(seed)) reached into it while it ran: "
            + "a simulation repeats only if no task leaves it for another executor or thread")
      }
      return change(&state)
    }
  }

  // MARK: Driving

  /// Runs jobs on the calling thread until `isDone`.
  func drive(until isDone: () -> Bool) {
    state.withLock { state in
      if state.isDriven { trap("two threads drive one simulated World (seed \(seed))") }
      state.isDriven = true
    }
    WorldThread(identity).serve {
      let executor = UnownedTaskExecutor(ordinary: self)
      while !isDone() { step(executor) }
    }
    state.withLock { $0.isDriven = false }
    cancelForOthers()
  }

  private func step(_ executor: UnownedTaskExecutor) {
    cancelForOthers()
    switch state.withLock({ choose(&$0) }) {
    case .job(let job): job.runSynchronously(on: executor)
    case .parked(let waiting):
      state.withLock { $0.isResuming = true }
      waiting.resume(returning: true)
      let job = state.withLock { state in
        defer { state.resumed = nil }
        state.isResuming = false
        return state.resumed
      }
      job?.runSynchronously(on: executor)
    }
  }

  /// Takes out the next thing to run: any of those ready, as the seed says; when none is, time
  /// moves.
  private func choose(_ state: inout State) -> Runnable {
    if state.ready.isEmpty {
      guard state.clock.advance() else { trap(describe(Self.deadlock, state)) }
      while let waiting = state.clock.popDue() { state.ready.append(.parked(waiting)) }
    }
    if state.trace.steps >= stepLimit { trap(describe(Self.limit, state)) }
    let count = state.ready.count
    let index = count == 1 ? 0 : state.chooser.index(below: count)
    state.trace.decide(index, of: count, nowNanoseconds: state.clock.nowNanoseconds)
    if index != count - 1 { state.ready.swapAt(index, count - 1) }
    return state.ready.removeLast()
  }

  private func cancelForOthers() {
    guard hasCancellations.load(ordering: .acquiring) else { return }
    hasCancellations.store(false, ordering: .relaxed)
    let tasks = state.withLock { state in
      defer { state.cancellations = [] }
      return state.cancellations
    }
    for task in tasks { task.cancel() }
  }

  // MARK: What a stuck simulation says

  private static let deadlock =
    "deadlock in a simulated World: no task can run and no timer is set, "
    + "yet the work that was entered has not finished"
  private static let limit = "a simulated World made more steps than its limit allows"

  private func describe(_ problem: String, _ state: State) -> String {
    let lastEvents = state.trace.events.suffix(8).map { "\n  " + $0.description }.joined()
    return problem
      + " (seed \(seed), \(state.trace.steps) steps, limit \(stepLimit), "
      + "\(state.clock.nowNanoseconds) ns of virtual time)"
      + (lastEvents.isEmpty ? "" : "; last events:" + lastEvents)
  }
}
