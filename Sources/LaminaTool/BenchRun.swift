internal import BlockLayer
internal import Execution
internal import Primitives
internal import Synchronization

/// Sends the requests of `bench`: as many workers as there are requests in parallel, each with a
/// buffer of its own, take the next one as long as there is one.
///
/// A flush is sent by the worker that takes the request behind it. Where it waits for all requests
/// before it, that worker holds the turn until they are done, so that nobody else takes one.
final class BenchRun: Sendable {
  private struct State {
    var sent = 0
    var offset: Int
    var underWay = 0
    var failure: BlockError?
    /// Who waits until nothing is under way.
    var waiting: CheckedContinuation<Void, Never>?
  }

  private let plan: BenchPlan
  private let node: BlockNode
  private let turn = AsyncMutex()
  private let state: Mutex<State>

  /// Requests as `plan` has them, to `node`.
  init(_ plan: BenchPlan, _ node: BlockNode) {
    self.plan = plan
    self.node = node
    state = Mutex(State(offset: plan.offset))
  }

  /// The most memory that buffers take, in bytes.
  private static let bufferByteCount = 1 << 30

  /// Sends them all; throws the first failure.
  func run() async throws(BlockError) {
    guard plan.count > 0 else { return }
    guard plan.size <= node.length else {
      throw BlockError(.outOfRange, "a request is larger than the image", node: node.name)
    }
    let memory = max(1, Self.bufferByteCount / max(1, plan.size))
    let workers = min(plan.depth, plan.count, memory)
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<workers { group.addTask { await self.work() } }
    }
    if let failure = state.withLock({ $0.failure }) { throw failure }
  }

  private func work() async {
    var buffer = IOBuffer(byteCount: max(1, plan.size), zeroed: true)
    if plan.pattern != 0 {
      var bytes = buffer.mutableBytes
      bytes.fill(ByteRange(0, plan.size), with: plan.pattern)
    }
    while let range = await next() {
      do throws(BlockError) {
        try await send(range, &buffer)
      } catch {
        fail(error)
      }
      let waiting = state.withLock { state in
        state.underWay -= 1
        return state.underWay == 0 ? state.waiting.take() : nil
      }
      waiting?.resume()
    }
  }

  private func send(_ range: ByteRange, _ buffer: inout IOBuffer) async throws(BlockError) {
    // Nothing at all can be read anywhere, but not behind the end.
    guard range.lower <= node.length else {
      throw BlockError(.outOfRange, "a request begins behind the end", node: node.name)
    }
    if plan.writes {
      try await node.write(range, from: buffer.bytes.slice(ByteRange(0, range.count)))
      if plan.flushesEach { try await node.flush() }
    } else {
      var bytes = buffer.mutableBytes
      var part = bytes.slice(ByteRange(0, range.count))
      try await node.read(range, into: &part)
    }
  }

  private func fail(_ error: BlockError) {
    state.withLock { state in if state.failure == nil { state.failure = error } }
  }

  /// The next request; nil when all are sent, or one has failed.
  private func next() async -> ByteRange? {
    if plan.flushInterval == 0 { return take()?.range }
    return await turn.withLock {
      guard let (range, number) = take() else { return nil }
      guard number > 0, number % plan.flushInterval == 0 else { return range }
      if plan.drains { await waitForOthers() }
      do throws(BlockError) {
        try await node.flush()
      } catch {
        fail(error)
      }
      return range
    }
  }

  private func take() -> (range: ByteRange, number: Int)? {
    state.withLock { state in
      guard state.failure == nil, state.sent < plan.count else { return nil }
      // A request beyond the end fails, as the first one may.
      guard let range = ByteRange(checkedOffset: state.offset, count: plan.size) else {
        state.failure = BlockError(.outOfRange, "a request ends nowhere", node: node.name)
        return nil
      }
      defer {
        state.offset = (state.offset &+ plan.step) % max(1, node.length)
        state.sent += 1
        state.underWay += 1
      }
      return (range, state.sent)
    }
  }

  /// Waits until no request but the caller's own is under way; the caller has the turn.
  private func waitForOthers() async {
    await withCheckedContinuation { continuation in
      let isIdle = state.withLock { state in
        state.underWay -= 1
        if state.underWay == 0 { return true }
        state.waiting = continuation
        return false
      }
      if isIdle { continuation.resume() }
    }
    state.withLock { $0.underWay += 1 }
  }
}
