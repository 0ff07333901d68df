import Synchronization

/// The progress that was told; says no from the call number `limit` on.
final class Seen: Sendable {
  private let state = Mutex<[Int]>([])
  private let limit: Int

  init(limit: Int = .max) { self.limit = limit }

  var values: [Int] { state.withLock { $0 } }

  func take(_ done: Int, _ total: Int) -> Bool {
    state.withLock { values in
      values.append(done)
      return values.count <= limit
    }
  }
}
