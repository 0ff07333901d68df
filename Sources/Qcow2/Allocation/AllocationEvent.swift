/// What becomes of clusters of the file; an observer is told under the tables' lock.
enum AllocationEvent: Sendable {
  /// These clusters, free until now, are about to be taken.
  case taking(Range<Int>)
  /// The cluster lost its last reference in memory: from now on it may be taken.
  case freed(Int)
}

/// Who is told what becomes of clusters, with the tables as they are then.
///
/// For tests that keep accounts of their own; without one it costs a comparison.
typealias AllocationObserver = @Sendable (_ event: AllocationEvent, _ tables: Tables) -> Void
