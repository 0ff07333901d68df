internal import Execution

/// How fast a job may go: a quota of bytes for each slice of 100 ms.
///
/// A chunk is let through as long as the quota is not used up, whatever its length: the first one
/// is immediate. One that is longer than the quota uses up slices to come.
struct RateLimit {
  /// The length of a slice.
  static let sliceNanoseconds: UInt64 = 100_000_000

  /// When the slices began that `used` counts for; nil when nothing was used.
  private var start: WorldInstant?
  private var used = 0

  /// How long the next chunk has to wait at `now`, in nanoseconds; 0 for not at all.
  ///
  /// `speed` is in bytes a second, 0 for no limit, and may differ from call to call.
  mutating func delay(at now: WorldInstant, speed: Int) -> UInt64 {
    guard speed > 0, let start else {
      self = RateLimit()
      return 0
    }
    let quota = UInt64(max(1, speed / 10))
    let length = max(Self.sliceNanoseconds, Self.nanoseconds(for: used, quota: quota))
    let end = start.advanced(byNanoseconds: length)
    if now >= end {
      self = RateLimit()
      return 0
    }
    return used < quota ? 0 : end.nanoseconds(since: now)
  }

  /// Counts a chunk that is let through at `now`.
  mutating func charge(_ byteCount: Int, at now: WorldInstant) {
    if start == nil { start = now }
    let (sum, overflow) = used.addingReportingOverflow(byteCount)
    used = overflow ? .max : sum
  }

  /// How long so many bytes take, in nanoseconds, parts of slices counted; `UInt64.max` for longer.
  private static func nanoseconds(for byteCount: Int, quota: UInt64) -> UInt64 {
    let product = UInt64(byteCount).multipliedFullWidth(by: sliceNanoseconds)
    return product.high < quota ? quota.dividingFullWidth(product).quotient : .max
  }
}
