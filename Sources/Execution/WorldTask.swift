/// Work that outlives who started it; `World.spawn(_:)` makes it.
public struct WorldTask: Sendable {
  internal let world: World
  internal let task: Task<Void, Never>

  /// Suspends until the work has ended.
  ///
  /// From outside of the World it enters the World to wait, as `World.run(_:)` does: so a simulated
  /// World is driven meanwhile. Cancelling the one who waits does not end the wait.
  public func wait() async {
    if world.isCurrent {
      await task.value
    } else {
      await world.run { await task.value }
    }
  }

  /// Asks the work to end early: its queued waits, its sleeps and its own checks see it.
  ///
  /// A request to a node that is on its way is never torn.
  public func cancel() { world.executor.cancel(task) }

  /// Whether the work was asked to end early.
  public var isCancelled: Bool { task.isCancelled }
}
