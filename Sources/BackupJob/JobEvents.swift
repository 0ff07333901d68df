internal import Synchronization

/// What happened to a job.
public enum JobEvent: Hashable, Sendable {
  /// A job has gone into another state: QMP's `JOB_STATUS_CHANGE`.
  case statusChanged(id: String, status: JobStatus)
  /// A job has ended by itself; `error` says why it failed, nil that it did not: QMP's
  /// `BLOCK_JOB_COMPLETED`.
  case completed(JobEnd, error: String?)
  /// A job has ended because it was cancelled: QMP's `BLOCK_JOB_CANCELLED`.
  case cancelled(JobEnd)
  /// A job waits to be finalized: QMP's `BLOCK_JOB_PENDING`.
  case pending(type: String, id: String)
  /// A request of a job failed, and what is done about it: QMP's `BLOCK_JOB_ERROR`.
  case failed(device: String, operation: String, action: String)
}

/// What the last event of a job tells.
///
/// Source: QMP's `BLOCK_JOB_COMPLETED`; the properties have its names.
public struct JobEnd: Hashable, Sendable {
  /// The kind of job: `backup`.
  public var type: String
  /// The job's name.
  public var device: String
  /// The work that there was, in bytes.
  public var len: Int
  /// The work that was done, in bytes.
  public var offset: Int
  /// The speed limit in bytes a second; 0 for none.
  public var speed: Int

  /// Makes an end.
  public init(type: String, device: String, len: Int, offset: Int, speed: Int) {
    self.type = type
    self.device = device
    self.len = len
    self.offset = offset
    self.speed = speed
  }
}

/// The events of a registry's jobs, in the order in which they happened.
///
/// Nothing of the engine waits for those who listen.
public final class JobEventLog: Sendable {
  /// How many events are kept for those who come late or are slow: some five hundred jobs' worth.
  public static let capacity = 4096

  private struct State {
    var events: [JobEvent] = []
    var listeners: [(number: Int, continuation: AsyncStream<JobEvent>.Continuation)] = []
    var lastNumber = 0
  }

  private let state = Mutex(State())

  init() {}

  /// The last `capacity` events since the last `take()`, the oldest first.
  public var events: [JobEvent] { state.withLock { Array($0.events.suffix(Self.capacity)) } }

  /// The events that `events` has, which are forgotten.
  public func take() -> [JobEvent] {
    state.withLock { state in
      defer { state.events = [] }
      return Array(state.events.suffix(Self.capacity))
    }
  }

  /// The events from now on, as they happen; of those that nobody fetches the last `capacity`.
  public func stream() -> AsyncStream<JobEvent> {
    let (stream, continuation) = AsyncStream<JobEvent>.makeStream(
      bufferingPolicy: .bufferingNewest(Self.capacity))
    let number = state.withLock { state in
      state.lastNumber += 1
      state.listeners.append((state.lastNumber, continuation))
      return state.lastNumber
    }
    continuation.onTermination = { [weak self] _ in self?.drop(number) }
    return stream
  }

  func append(_ event: JobEvent) {
    state.withLock { state in
      // Twice the capacity before the older half goes, so that dropping costs nothing an event.
      if state.events.count >= 2 * Self.capacity { state.events.removeFirst(Self.capacity) }
      state.events.append(event)
      for listener in state.listeners { listener.continuation.yield(event) }
    }
  }

  private func drop(_ number: Int) {
    state.withLock { state in state.listeners.removeAll { $0.number == number } }
  }
}
