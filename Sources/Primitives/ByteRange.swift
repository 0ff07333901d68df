/// A half-open range of bytes, `lower ..< upper`, in one coordinate space (a node, a file, a disk).
///
/// Bounds are non-negative and at most `Int.max`: every disk size that Lamina handles is below
/// 2^63.
public struct ByteRange: Hashable, Sendable {
  /// The first byte of the range.
  public let lower: Int
  /// The byte after the last one.
  public let upper: Int

  /// Makes the range from `lower` up to `upper`, which must not be below it.
  @inlinable
  public init(_ lower: Int, _ upper: Int) {
    precondition(lower >= 0 && upper >= lower, "a byte range needs 0 <= lower <= upper")
    self.lower = lower
    self.upper = upper
  }

  /// Makes the range of `count` bytes from `offset`.
  ///
  /// Traps when its end is beyond `Int.max`: numbers from a file go through
  /// `init(checkedOffset:count:)` instead.
  @inlinable
  public init(offset: Int, count: Int) {
    self.init(offset, offset + count)
  }

  /// Makes the range of `count` bytes from `offset`, or nil when a number is negative or the end
  /// overflows.
  @inlinable
  public init?(checkedOffset offset: Int, count: Int) {
    let (end, overflow) = offset.addingReportingOverflow(count)
    guard offset >= 0, count >= 0, !overflow else { return nil }
    self.lower = offset
    self.upper = end
  }

  /// The number of bytes.
  @inlinable public var count: Int { upper - lower }

  /// Whether there is no byte in the range.
  @inlinable public var isEmpty: Bool { upper == lower }

  /// Whether `offset` is a byte of the range.
  @inlinable
  public func contains(_ offset: Int) -> Bool { offset >= lower && offset < upper }

  /// Whether every byte of `other` lies in the range.
  @inlinable
  public func contains(_ other: ByteRange) -> Bool { other.lower >= lower && other.upper <= upper }

  /// Whether the ranges share a byte.
  @inlinable
  public func overlaps(_ other: ByteRange) -> Bool {
    lower < other.upper && other.lower < upper
  }

  /// The bytes of both ranges; empty (at some bound of them) when they share none.
  @inlinable
  public func intersection(_ other: ByteRange) -> ByteRange {
    let low = max(lower, other.lower)
    return ByteRange(low, max(low, min(upper, other.upper)))
  }

  /// The first `count` bytes of the range, or all of it when it is shorter.
  @inlinable
  public func prefix(_ count: Int) -> ByteRange { ByteRange(lower, lower + min(count, self.count)) }

  /// The range without its first `count` bytes.
  @inlinable
  public func dropFirst(_ count: Int) -> ByteRange { ByteRange(min(lower + count, upper), upper) }

  /// The same bytes counted from `origin`, which must not be above `lower`.
  @inlinable
  public func relative(to origin: Int) -> ByteRange { ByteRange(lower - origin, upper - origin) }

  /// The smallest range of whole blocks of `alignment` bytes (a power of two) around this one.
  ///
  /// Traps when its end is beyond `Int.max`.
  @inlinable
  public func roundedOut(to alignment: Int) -> ByteRange {
    ByteRange(lower.roundedDown(to: alignment), upper.roundedUp(to: alignment))
  }

  /// The largest range of whole blocks of `alignment` bytes (a power of two) inside this one;
  /// empty when there is none.
  @inlinable
  public func roundedIn(to alignment: Int) -> ByteRange {
    let low = lower.roundedUp(to: alignment)
    return ByteRange(low, max(low, upper.roundedDown(to: alignment)))
  }
}

extension ByteRange: CustomStringConvertible {
  /// The bounds in hexadecimal, as qcow2 texts are written: `0x10000..<0x20000`.
  public var description: String {
    "0x" + String(lower, radix: 16) + "..<0x" + String(upper, radix: 16)
  }
}
