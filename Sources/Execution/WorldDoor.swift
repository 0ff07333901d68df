internal import Synchronization

/// Whether a World still takes new work from outside.
internal final class WorldDoor: Sendable {
  private let closed = Atomic(false)

  var isClosed: Bool { closed.load(ordering: .acquiring) }

  /// Closes the door; false when it was closed before.
  func close() -> Bool { !closed.exchange(true, ordering: .acquiringAndReleasing) }
}
