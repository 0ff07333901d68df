public import BlockLayer
internal import Synchronization

/// The jobs of one graph, with their names, their events, and the nodes that they keep busy.
public final class JobRegistry: Sendable {
  /// The graph that the jobs work on.
  public let graph: BlockGraph
  /// What happened to the jobs, in order.
  public let events = JobEventLog()

  private struct State {
    var jobs: [Job] = []  // newest first
    var busy: [(node: BlockNode, job: Job)] = []
  }
  private let state = Mutex(State())

  /// Makes an empty registry for the jobs of `graph`.
  public init(graph: BlockGraph) { self.graph = graph }

  /// The jobs that are not dismissed, newest first.
  public var jobs: [Job] { state.withLock { $0.jobs } }

  /// The job of that name; throws `notFound` with QEMU's text.
  public func job(_ id: String) throws(JobError) -> Job {
    guard let job = jobs.first(where: { $0.id == id }) else {
      throw JobError(.notFound, "Job not found")
    }
    return job
  }

  /// Cancels every job that can be, and waits until all have concluded.
  ///
  /// For the end of a session: nodes can be closed afterwards. Not to be called while holding
  /// `graph.changes`, which jobs wait for to end.
  public func cancelAll() async {
    let jobs = jobs
    for job in jobs { try? job.cancel() }  // a job that refuses is ending already
    for job in jobs { _ = await job.wait() }
  }

  // MARK: - Names

  /// Takes the name and tells of the job; throws when the name is ill-formed or taken.
  func add(_ job: Job) throws(JobError) {
    try checkIdentifier(job.id)
    let isTaken = state.withLock { state in
      if state.jobs.contains(where: { $0.id == job.id }) { return true }
      state.jobs.insert(job, at: 0)
      return false
    }
    if isTaken { throw Self.alreadyInUse(job.id) }
    events.append(.statusChanged(id: job.id, status: .created))
  }

  /// Throws when the name is ill-formed or taken.
  func checkIdentifier(_ id: String) throws(JobError) {
    guard Self.isIdentifier(id) else {
      throw JobError(.identifier, "Invalid job ID '\(OpenPolicy.printable(id))'")
    }
    if jobs.contains(where: { $0.id == id }) { throw Self.alreadyInUse(id) }
  }

  private static func alreadyInUse(_ id: String) -> JobError {
    JobError(.identifier, "Job ID '\(id)' already in use")
  }

  func forget(_ job: Job) { state.withLock { state in state.jobs.removeAll { $0 === job } } }

  /// A letter, then letters, digits and `-._`.
  private static func isIdentifier(_ text: String) -> Bool {
    let isLetter = { (byte: UInt8) in (0x41...0x5a).contains(byte & 0xdf) }
    let rest = text.utf8.dropFirst()
    return text.utf8.first.map(isLetter) ?? false
      && rest.allSatisfy { isLetter($0) || (0x30...0x39).contains($0) || "-._".utf8.contains($0) }
  }

  // MARK: - Busy nodes

  /// Marks a node that no other job or graph command may use.
  func block(_ node: BlockNode, for job: Job) { state.withLock { $0.busy.append((node, job)) } }

  func unblock(_ job: Job) { state.withLock { state in state.busy.removeAll { $0.job === job } } }

  /// Throws, with QEMU's text, when a job keeps `node` busy.
  public func checkNotBusy(_ node: BlockNode) throws(JobError) {
    guard let user = state.withLock({ $0.busy.first { $0.node === node }?.job }) else { return }
    let name = graph.deviceName(at: node) ?? node.name
    throw JobError(
      .busy,
      "Node '\(name)' is busy: block device is in use by block job: \(user.type)")
  }
}
