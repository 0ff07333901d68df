/// A point on a World's clock: nanoseconds since the World was made.
///
/// A threaded World's clock is the monotonic clock; a simulated World's is virtual and moves only
/// when nothing can run.
public struct WorldInstant: Hashable, Comparable, Sendable {
  /// Nanoseconds since the World was made.
  public let nanoseconds: UInt64

  /// Makes the instant `nanoseconds` after the World was made.
  public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

  /// The instant `nanoseconds` later, or the end of time when that overflows.
  public func advanced(byNanoseconds nanoseconds: UInt64) -> WorldInstant {
    let (sum, overflow) = self.nanoseconds.addingReportingOverflow(nanoseconds)
    return WorldInstant(nanoseconds: overflow ? .max : sum)
  }

  /// The nanoseconds from `earlier` to this instant, or 0 when `earlier` is later.
  public func nanoseconds(since earlier: WorldInstant) -> UInt64 {
    nanoseconds > earlier.nanoseconds ? nanoseconds - earlier.nanoseconds : 0
  }

  /// Whether `left` is before `right`.
  public static func < (left: WorldInstant, right: WorldInstant) -> Bool {
    left.nanoseconds < right.nanoseconds
  }
}
