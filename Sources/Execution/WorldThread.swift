/// Who a World is, for the threads that serve it: compared by identity, and a way back to the
/// World.
///
/// Threads and executors refer to this object rather than to the World, which can then be released.
internal final class WorldIdentity: @unchecked Sendable {
  // Sendable: `world` is set once, before the World's first thread or task exists.
  weak var world: World?
}

/// What a thread that serves a World keeps at hand: reached through a thread-local slot, and used
/// by that thread alone.
internal final class WorldThread: @unchecked Sendable {
  // Sendable: made on one thread and never seen by another.

  /// How many jobs may jump the queue through `runNext` before the queue is looked at again.
  static let runNextBudget = 64

  private static let slot = ThreadSlot<WorldThread>()

  /// The calling thread's record, or nil when the thread serves no World.
  static var current: WorldThread? { slot.value?.takeUnretainedValue() }

  /// Whether the calling thread serves the World of `identity`.
  static func isServing(_ identity: WorldIdentity) -> Bool {
    slot.value?._withUnsafeGuaranteedRef { $0.identity === identity } ?? false
  }

  let identity: WorldIdentity
  /// The pool whose thread this is; nil for who drives a simulation.
  private let pool: JobPool?
  /// The job that runs right after the present one, without passing through the shared queue.
  private(set) var runNext: UnownedJob?
  private var budget = WorldThread.runNextBudget

  init(_ identity: WorldIdentity, pool: JobPool? = nil) {
    self.identity = identity
    self.pool = pool
  }

  /// Runs `body` with the calling thread counted as one of the World's.
  func serve(_ body: () -> Void) { WorldThread.slot.with(self, body) }

  /// What became of a job that was offered for right after the present one.
  enum Offer {
    /// It will run next on this thread.
    case taken
    /// Another job has the place.
    case occupied
    /// The queue must have its turn first.
    case spent
    /// The calling thread is not one of the World's.
    case elsewhere
  }

  /// Offers `job` to the calling thread for right after the present one.
  static func offerRunNext(_ job: UnownedJob, _ identity: WorldIdentity) -> Offer {
    slot.value?._withUnsafeGuaranteedRef { thread in
      guard thread.identity === identity else { return .elsewhere }
      if thread.runNext != nil { return .occupied }
      if thread.budget == 0 { return .spent }
      thread.budget -= 1
      thread.runNext = job
      return .taken
    } ?? .elsewhere
  }

  /// Moves the calling thread's waiting job, if there is one, to the queue that all threads share.
  static func shareRunNext() {
    slot.value?._withUnsafeGuaranteedRef { thread in
      if let job = thread.takeRunNext() { thread.pool?.push(.job(job)) }
    }
  }

  /// Takes the job out of the place.
  func takeRunNext() -> UnownedJob? {
    guard let job = runNext else { return nil }
    runNext = nil
    return job
  }

  /// The shared queue has had its turn: the budget is whole again.
  func refillBudget() { budget = WorldThread.runNextBudget }
}
