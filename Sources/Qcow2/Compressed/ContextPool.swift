internal import Synchronization

/// Contexts of a codec that nobody uses now.
///
/// Making one costs about as much as a small cluster does, so some are kept; each is used by one
/// task at a time.
final class ContextPool<Context: Sendable>: Sendable {
  private let idle = Mutex<[Context]>([])
  private let limit: Int

  /// Makes a pool that keeps at most `limit` contexts.
  init(limit: Int) { self.limit = limit }

  /// Takes a context out, if there is one.
  func take() -> Context? { idle.withLock { $0.popLast() } }

  /// Puts a context in, or lets it go when there are enough.
  func put(_ context: Context) {
    idle.withLock { if $0.count < limit { $0.append(context) } }
  }
}
