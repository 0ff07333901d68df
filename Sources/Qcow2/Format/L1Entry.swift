internal import Primitives

/// An entry of an L1 table, 8 bytes: where the L2 table for a piece of the disk is (qcow2
/// specification, "L1 table entry").
///
/// Bits 9–55: offset of the L2 table, 0 for none. Bit 63: its refcount is exactly 1; only in the
/// active table. The others are reserved.
@frozen
public struct L1Entry: Hashable, Sendable {
  /// The 64 bits, in the machine's order.
  public let rawValue: UInt64

  /// Bits 9–55.
  @usableFromInline static let offsetMask: UInt64 = 0x00ff_ffff_ffff_fe00
  /// Bits that must be zero.
  @usableFromInline static let reservedMask: UInt64 = 0x7f00_0000_0000_01ff
  @usableFromInline static let copiedMask: UInt64 = 1 << 63

  /// Makes the entry that a table holds.
  @inlinable
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// Makes the entry that points at an L2 table; `isCopied` says that nothing else does.
  @inlinable
  public init(l2Table: HostOffset, isCopied: Bool) {
    let bits = UInt64(l2Table.value)
    precondition(bits & ~Self.offsetMask == 0, "an L2 table is not at \(l2Table)")
    rawValue = bits | (isCopied ? Self.copiedMask : 0)
  }

  /// No L2 table.
  @inlinable public static var none: L1Entry { L1Entry(rawValue: 0) }

  /// The place of the L2 table, aligned or not; nil where there is none.
  @inlinable
  public var l2Table: HostOffset? {
    let bits = rawValue & Self.offsetMask
    return bits == 0 ? nil : HostOffset(Int(truncatingIfNeeded: bits))
  }

  /// Whether the table's refcount is said to be 1, so that it may be written in place.
  @inlinable public var isCopied: Bool { rawValue & Self.copiedMask != 0 }

  /// Whether a reserved bit is set: reported by checks, ignored by reads.
  @inlinable public var hasReservedBits: Bool { rawValue & Self.reservedMask != 0 }
}
