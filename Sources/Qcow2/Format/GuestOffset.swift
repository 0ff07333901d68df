public import Primitives

/// A byte position on the virtual disk, as the guest sees it.
///
/// A type of its own, so that a guest position cannot reach the file by accident.
@frozen
public struct GuestOffset: Comparable, Hashable, Sendable {
  /// The position in bytes, never negative.
  public let value: Int

  /// Makes the position `value`, which must not be negative.
  @inlinable
  public init(_ value: Int) {
    precondition(value >= 0, "a guest offset is never negative")
    self.value = value
  }

  /// Whether `left` is before `right` on the disk.
  @inlinable
  public static func < (left: GuestOffset, right: GuestOffset) -> Bool { left.value < right.value }

  /// The position `byteCount` bytes further; traps on overflow.
  @inlinable
  public static func + (offset: GuestOffset, byteCount: Int) -> GuestOffset {
    GuestOffset(offset.value + byteCount)
  }

  /// The bytes from `right` to `left`; negative when `right` is behind.
  @inlinable
  public static func - (left: GuestOffset, right: GuestOffset) -> Int { left.value - right.value }

  /// The position `byteCount` bytes further, or nil when it is negative or beyond `Int.max`.
  @inlinable
  public func adding(_ byteCount: Int) -> GuestOffset? {
    let (sum, overflow) = value.addingReportingOverflow(byteCount)
    return overflow || sum < 0 ? nil : GuestOffset(sum)
  }

  /// Whether the position is a multiple of `alignment`, a power of two.
  @inlinable
  public func isAligned(to alignment: Int) -> Bool { value.isAligned(to: alignment) }

  /// The largest multiple of `alignment` (a power of two) that is not above the position.
  @inlinable
  public func roundedDown(to alignment: Int) -> GuestOffset {
    GuestOffset(value.roundedDown(to: alignment))
  }
}

extension GuestOffset: CustomStringConvertible {
  /// The position in hexadecimal: `0x10000`.
  public var description: String { hexText(value) }
}
