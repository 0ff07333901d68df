internal import Synchronization

/// Tells when no request can still be using a cluster that was unmapped.
///
/// A request looks a mapping up, then does its I/O without a lock. Meanwhile the cluster may be
/// unmapped (overwritten elsewhere, zeroed, discarded). If it were reused at once, the request
/// would read or write another guest block's data. So requests enter an epoch with their lookup
/// and leave it after their I/O; clusters unmapped in an epoch wait until it is over and empty.
///
/// Two epochs are told apart: the present one and the one before, which must have ended before
/// the next turn. Entering and turning happen under the metadata lock, leaving does not.
final class RequestEpochs: Sendable {
  private let even = Atomic<Int>(0)
  private let odd = Atomic<Int>(0)
  private let present = Atomic<Int>(0)

  /// A request's membership.
  struct Ticket: Sendable {
    fileprivate let isOdd: Bool
  }

  /// Enters the present epoch.
  ///
  /// Call it under the metadata lock, with the lookup.
  func enter() -> Ticket {
    let isOdd = present.load(ordering: .relaxed) & 1 == 1
    if isOdd { odd.add(1, ordering: .relaxed) } else { even.add(1, ordering: .relaxed) }
    return Ticket(isOdd: isOdd)
  }

  /// Leaves it; the request's I/O is over.
  func leave(_ ticket: Ticket) {
    if ticket.isOdd {
      odd.subtract(1, ordering: .releasing)
    } else {
      even.subtract(1, ordering: .releasing)
    }
  }

  /// Whether every request of the epoch before the present one has left.
  ///
  /// Call it under the lock.
  var isPreviousOver: Bool {
    let isOdd = present.load(ordering: .relaxed) & 1 == 1
    return (isOdd ? even.load(ordering: .acquiring) : odd.load(ordering: .acquiring)) == 0
  }

  /// Begins the next epoch, if the one before the present is over.
  ///
  /// Call it under the lock.
  func turn() -> Bool {
    guard isPreviousOver else { return false }
    present.add(1, ordering: .relaxed)
    return true
  }
}
