internal import Execution
public import Primitives
internal import Synchronization
internal import SystemPackage

/// A filter that makes requests fail, or stop, at chosen points in the life of the node above:
/// QEMU's `blkdebug`.
///
/// The node above announces events (`BlockNode.raise(_:)`) just before it does what they name. An
/// event looks at the rules for it in the present state. If rules that inject errors are among
/// them, they become the *active* ones, in place of those before; else those stay. The state
/// changes after that. Each request then meets the first active rule for its kind and sectors.
///
/// Source: the QMP schema's `BlockdevOptionsBlkdebug`.
public final class BlkdebugDriver: DebugEventSink {
  /// Always `blkdebug`.
  public var driverName: String { "blkdebug" }
  /// It shows the node below.
  public var isFilter: Bool { true }
  /// The node below.
  public let children: [BlockEdge]
  /// What the configuration asks for.
  public let limits: BlockLimits

  private let image: BlockEdge
  private let state: Mutex<BlkdebugState>

  /// Makes the filter over `image`; the event `none` happens now.
  ///
  /// Throws `invalidArgument`, with QEMU's text, for limits that cannot be met.
  public init(
    image: BlockNode, rules: BlkdebugRules = BlkdebugRules(),
    limits: BlkdebugLimits = BlkdebugLimits()
  ) throws(BlockError) {
    self.limits = try limits.applied(to: image.limits)
    self.image = try BlockEdge(.file, to: image)
    children = [self.image]
    state = Mutex(BlkdebugState(rules))
    state.withLock { _ = $0.happen(.none) }
  }

  /// The size of the node below.
  public var length: Int { image.node.length }

  // MARK: - Requests

  /// Reads, unless a rule says otherwise.
  public func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError) {
    try await check(.read, range)
    try await image.node.read(range, into: &buffer)
  }

  /// Writes, unless a rule says otherwise.
  public func write(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    try await check(.write, range)
    try await image.node.write(range, from: bytes)
  }

  /// Zeroes, unless a rule says otherwise.
  public func writeZeroes(_ range: ByteRange, mayUnmap: Bool) async throws(BlockError) {
    try await check(.writeZeroes, range)
    try await image.node.writeZeroes(range, mayUnmap: mayUnmap)
  }

  /// Discards, unless a rule says otherwise.
  public func discard(_ range: ByteRange) async throws(BlockError) {
    try await check(.discard, range)
    try await image.node.discard(range)
  }

  /// Has nothing to make durable, but may fail.
  public func sync() async throws(BlockError) { try await check(.flush, ByteRange(0, 0)) }

  /// The status of the layer below, unless a rule says otherwise.
  public func status(_ range: ByteRange) async throws(BlockError) -> BlockStatus {
    try await checkStatus(range)
    return try await image.node.layerStatus(range)
  }

  /// Fails when a rule for block status says so.
  public func checkStatus(_ range: ByteRange) async throws(BlockError) {
    try await check(.blockStatus, range)
  }

  private func check(
    _ kind: BlkdebugRules.RequestKind, _ range: ByteRange
  ) async throws(BlockError) {
    guard let rule = state.withLock({ $0.failure(for: kind, range) }) else { return }
    if !rule.immediately { await image.node.world.yield() }
    throw .host(rule.errno, "blkdebug made a \(kind.rawValue) fail", range: range)
  }

  // MARK: - Events and breakpoints

  /// Lets the rules for `event` act; returns when no breakpoint holds the caller.
  public func raise(_ event: DebugEvent) async {
    let tags = state.withLock { $0.happen(event) }
    guard !tags.isEmpty else { return }
    await withCheckedContinuation { (request: CheckedContinuation<Void, Never>) in
      let watchers = state.withLock { $0.suspend(request, under: tags) }
      for watcher in watchers { watcher.resume() }
    }
  }

  /// The present state: 1 until a rule changes it.
  public var currentState: Int { state.withLock { $0.number } }

  /// Stops the next request at which `event` happens, until it is resumed by its `tag`.
  ///
  /// A request that comes upon several breakpoints at once is stopped under all of their tags, the
  /// newest first, and goes on when it was resumed by each.
  ///
  /// Source: qemu-io's command `break`.
  public func addBreakpoint(_ event: DebugEvent, tag: String) {
    state.withLock { $0.breakpoints.append((event, tag)) }
  }

  /// Waits until a request is stopped under `tag`.
  ///
  /// Source: qemu-io's command `wait_break`.
  public func waitForBreakpoint(_ tag: String) async {
    await withCheckedContinuation { (watcher: CheckedContinuation<Void, Never>) in
      let isThere = state.withLock { state in
        if state.isStopped(at: tag) { return true }
        state.watchers.append((tag, watcher))
        return false
      }
      if isThere { watcher.resume() }
    }
  }

  /// Whether a request is stopped under `tag`.
  public func isStopped(at tag: String) -> Bool { state.withLock { $0.isStopped(at: tag) } }

  /// How many requests are stopped under `tag`.
  public func stopCount(at tag: String) -> Int {
    state.withLock { state in state.suspended.count { $0.tag == tag } }
  }

  /// Whether a breakpoint waits for a request, or holds one.
  public var hasBreakpoints: Bool {
    state.withLock { !$0.breakpoints.isEmpty || !$0.suspended.isEmpty }
  }

  /// Lets the request that was stopped last under `tag` go on; throws `notFound` when there is
  /// none.
  ///
  /// Source: qemu-io's command `resume`.
  public func resume(_ tag: String) throws(BlockError) {
    let (wasThere, request) = state.withLock { state in state.letGoOfLast { $0 == tag } }
    guard wasThere else {
      throw BlockError(.notFound, "no request is stopped at '\(OpenPolicy.printable(tag))'")
    }
    request?.resume()
  }

  /// Removes the breakpoints of `tag`, and lets all requests that are stopped there go on; throws
  /// `notFound` when there was no breakpoint that still waited for a request.
  ///
  /// Source: qemu-io's command `remove_break`.
  public func removeBreakpoint(_ tag: String) throws(BlockError) {
    let (wasThere, requests) = state.withLock { state in
      let before = state.breakpoints.count
      state.breakpoints.removeAll { $0.tag == tag }
      return (before != state.breakpoints.count, state.letGo { $0 == tag })
    }
    for request in requests { request.resume() }
    guard wasThere else {
      throw BlockError(.notFound, "there is no breakpoint '\(OpenPolicy.printable(tag))'")
    }
  }

  /// Removes all breakpoints and lets every request go on, as before closing.
  public func removeAllBreakpoints() {
    let requests = state.withLock { state in
      state.breakpoints = []
      return state.letGo { _ in true }
    }
    for request in requests { request.resume() }
  }

  /// What happened to a request at a breakpoint, with the breakpoint's tag.
  public enum Stop: Hashable, Sendable {
    /// It was stopped.
    case stopped(String)
    /// It goes on, unless another breakpoint holds it too.
    case resumed(String)
  }

  /// Has `observer` told of requests that stop and go on, in their order; nil ends that.
  ///
  /// It is called with the filter's lock held: it must neither block nor ask the filter anything.
  public func observeStops(_ observer: (@Sendable (Stop) -> Void)?) {
    state.withLock { $0.observer = observer }
  }
}

extension BlkdebugDriver: ResizableImage {
  /// Resizes the node below.
  public func resize(to length: Int) async throws(BlockError) {
    try await image.node.resize(to: length, mayShrink: true)
  }

  /// Grows the node below.
  public func grow(to length: Int, _ preallocation: Preallocation) async throws(BlockError) {
    try await image.node.resize(to: length, preallocation: preallocation)
  }
}
