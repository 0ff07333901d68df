internal import Synchronization

/// Where the engine runs: an executor, a clock and a seed.
///
/// A *threaded* World has threads of its own, which may block in system calls, and the monotonic
/// clock. A *simulated* World has no thread: it runs one job at a time, its seed chooses which, and
/// its clock is virtual; the same seed repeats the same run exactly.
///
/// Enter once a session, with `run(_:)` from asynchronous code or `runBlocking(_:)` from plain
/// synchronous code, never once a request. Inside, use structured concurrency: child tasks stay in
/// the World. What outlives its caller is started with `spawn(_:)`.
///
/// Cancelling a Swift task never tears a request: only queued waits that say so, sleeps and jobs
/// observe it.
///
/// The threads end when the World and its last task are released, or in `shutdown()`. A task keeps
/// its World alive.
public final class World: Sendable {
  internal enum Kind {
    case threaded(ThreadedExecutor)
    case simulated(SimulatedExecutor)
  }

  internal let identity: WorldIdentity
  internal let kind: Kind
  internal let executor: any WorldExecutor
  /// Entered and spawned tasks that have not ended.
  internal let tasks = InFlightCounter()
  internal let door = WorldDoor()

  /// What every choice in this World follows from: scheduling, if it is simulated, and the
  /// generators of `makeRandom(_:)`.
  public let seed: UInt64
  /// How often `entropy()` was asked for.
  let entropyCount = Atomic<Int>(0)

  private init(_ identity: WorldIdentity, _ kind: Kind, seed: UInt64) {
    self.identity = identity
    self.kind = kind
    self.seed = seed
    switch kind {
    case .threaded(let executor): self.executor = executor
    case .simulated(let executor): self.executor = executor
    }
    identity.world = self
  }

  /// The number of threads a threaded World has unless told otherwise: as many as there are
  /// processors, and at least 4, because a thread that waits for a disk leaves its processor idle.
  public static var defaultThreadCount: Int { min(64, max(4, PlatformThread.processorCount)) }

  /// Makes a World with `threads` threads of its own.
  ///
  /// `seed` is what `makeRandom(_:)` derives from; threads are scheduled by the system.
  public static func threaded(threads: Int = defaultThreadCount, seed: UInt64 = 0) -> World {
    precondition(threads > 0, "a threaded World needs a thread")
    let identity = WorldIdentity()
    let executor = ThreadedExecutor(identity: identity)
    let world = World(identity, .threaded(executor), seed: seed)
    executor.startThreads(threads)
    return world
  }

  /// Makes a World in which `seed` decides what runs next and time is virtual.
  ///
  /// It runs only while somebody has entered it. The process ends with a message that names the
  /// seed when more than `stepLimit` scheduling steps are made, or when nothing can run any more
  /// although the work has not finished.
  public static func simulated(seed: UInt64, stepLimit: Int = 10_000_000) -> World {
    let identity = WorldIdentity()
    let executor = SimulatedExecutor(identity: identity, seed: seed, stepLimit: stepLimit)
    return World(identity, .simulated(executor), seed: seed)
  }

  /// Whether the World is a simulated one.
  public var isSimulated: Bool {
    if case .simulated = kind { true } else { false }
  }

  /// The World whose thread this is, or nil outside of any.
  public static var current: World? { WorldThread.current?.identity.world }

  /// Whether the calling thread is one of this World's.
  public var isCurrent: Bool { WorldThread.isServing(identity) }

  /// Ends the process with `message` unless the calling thread is one of this World's.
  public func preconditionCurrent(
    _ message: @autoclosure () -> String = "this must be called inside of its own World"
  ) {
    if !isCurrent { trap(message()) }
  }
}
