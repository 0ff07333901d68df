public import Primitives

/// A byte position in the image file.
@frozen
public struct HostOffset: Comparable, Hashable, Sendable {
  /// The position in bytes, never negative.
  public let value: Int

  /// Makes the position `value`, which must not be negative.
  @inlinable
  public init(_ value: Int) {
    precondition(value >= 0, "a host offset is never negative")
    self.value = value
  }

  /// Makes the position that a 64-bit field holds, or nil when it is beyond `Int.max`.
  @inlinable
  public init?(field: UInt64) {
    guard let value = Int(exactly: field) else { return nil }
    self.value = value
  }

  /// The start of the file, where the header is.
  @inlinable public static var zero: HostOffset { HostOffset(0) }

  /// Whether `left` is before `right` in the file.
  @inlinable
  public static func < (left: HostOffset, right: HostOffset) -> Bool { left.value < right.value }

  /// The position `byteCount` bytes further; traps on overflow.
  @inlinable
  public static func + (offset: HostOffset, byteCount: Int) -> HostOffset {
    HostOffset(offset.value + byteCount)
  }

  /// The bytes from `right` to `left`; negative when `right` is behind.
  @inlinable
  public static func - (left: HostOffset, right: HostOffset) -> Int { left.value - right.value }

  /// The position `byteCount` bytes further, or nil when it is negative or beyond `Int.max`.
  @inlinable
  public func adding(_ byteCount: Int) -> HostOffset? {
    let (sum, overflow) = value.addingReportingOverflow(byteCount)
    return overflow || sum < 0 ? nil : HostOffset(sum)
  }

  /// Whether the position is a multiple of `alignment`, a power of two.
  @inlinable
  public func isAligned(to alignment: Int) -> Bool { value.isAligned(to: alignment) }

  /// The largest multiple of `alignment` (a power of two) that is not above the position.
  @inlinable
  public func roundedDown(to alignment: Int) -> HostOffset {
    HostOffset(value.roundedDown(to: alignment))
  }
}

extension HostOffset: CustomStringConvertible {
  /// The position in hexadecimal: `0x10000`.
  public var description: String { hexText(value) }
}

/// `value` in hexadecimal with `0x` before it, as qcow2 messages are written.
func hexText(_ value: some BinaryInteger) -> String { "0x" + String(value, radix: 16) }
