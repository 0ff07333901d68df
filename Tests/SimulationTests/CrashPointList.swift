import BlockTestKit
import Synchronization

/// A list of crash points that an observer may add to.
final class CrashPointList: Sendable {
  private let list = Mutex<[CrashPoint]>([])
  var all: [CrashPoint] { list.withLock { $0 } }
  func add(_ point: CrashPoint) { list.withLock { $0.append(point) } }
}
