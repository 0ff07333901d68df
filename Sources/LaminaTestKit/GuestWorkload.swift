public import BlockTestKit
internal import Lamina
internal import Synchronization

/// A guest that goes on using its disk while backups run: seeded writes, zeroes, discards, reads
/// and flushes, one after the other.
///
/// It tries again what fails, as guests do.
public final class GuestWorkload: Sendable {
  private struct State {
    var isStopped = false
    var failure: (any Error)?
    var count = 0
  }

  /// How often a request is tried.
  private static let attempts = 4

  private let disk: LabDisk
  private let task = Mutex<WorldTask?>(nil)
  private let state = Mutex(State())

  /// Starts a guest on `disk`.
  ///
  /// What it does follows from the World's seed and `label`; `mix` and `maximumClusters`, the most
  /// clusters of 64 KiB in a request, shape it. It ends by itself after `count` requests.
  public init(
    on disk: LabDisk, label: String = "guest", mix: OperationSequence.Mix = .init(),
    maximumClusters: Int = 2, count: Int = 400
  ) {
    self.disk = disk
    var shape = OperationSequence.Shape(length: disk.node.length, cluster: 65536)
    shape.maximumClusters = maximumClusters
    let operations = OperationSequence(
      count: count, shape: shape, mix: mix,
      random: disk.lab.world.makeRandom("\(label) of \(disk.name)"), firstWrite: 1)
    disk.beginWork()
    let started = disk.lab.world.spawn { [self] in
      for operation in operations where !state.withLock({ $0.isStopped }) {
        await perform(operation)
      }
      disk.endWork()
    }
    task.withLock { $0 = started }
  }

  /// How many requests have ended.
  public var count: Int { state.withLock { $0.count } }

  /// Lets the guest end its request, and waits for that; throws what went wrong.
  public func stop() async throws {
    state.withLock { $0.isStopped = true }
    await task.withLock { $0 }?.wait()
    if let failure = state.withLock({ $0.failure }) { throw failure }
  }

  private func perform(_ operation: GuestOperation) async {
    for attempt in 1...Self.attempts {
      do {
        try await disk.perform(operation)
        return state.withLock { $0.count += 1 }
      } catch {
        if error is BlockError, attempt < Self.attempts { continue }
        return state.withLock { state in
          state.failure = state.failure ?? error
          state.isStopped = true
        }
      }
    }
  }
}
