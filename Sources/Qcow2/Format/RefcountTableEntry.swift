internal import Primitives

/// An entry of the refcount table, 8 bytes: where a refcount block is (qcow2 specification,
/// "Host cluster management").
///
/// Bits 9–63: offset of the block, 0 for none, which means that every cluster it would count is
/// free. Bits 0–8 are reserved.
@frozen
public struct RefcountTableEntry: Hashable, Sendable {
  /// The 64 bits, in the machine's order.
  public let rawValue: UInt64

  @usableFromInline static let reservedMask: UInt64 = 0x1ff

  /// Makes the entry that a table holds.
  @inlinable
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// Makes the entry that points at a block.
  @inlinable
  public init(block: HostOffset) {
    rawValue = UInt64(block.value)
    precondition(rawValue & Self.reservedMask == 0, "no refcount block is at \(block)")
  }

  /// No block.
  @inlinable public static var none: RefcountTableEntry { RefcountTableEntry(rawValue: 0) }

  /// Whether there is no block, reserved bits ignored.
  @inlinable public var isNone: Bool { rawValue & ~Self.reservedMask == 0 }

  /// Whether a reserved bit is set: the table is damaged.
  @inlinable public var hasReservedBits: Bool { rawValue & Self.reservedMask != 0 }

  /// The place of the block, aligned or not; nil where there is none or it is beyond the largest
  /// file offset, 2^63.
  @inlinable
  public var block: HostOffset? {
    isNone ? nil : HostOffset(field: rawValue & ~Self.reservedMask)
  }

  /// The place of the block when the entry is sound: no reserved bit, aligned to a cluster, below
  /// 2^56.
  ///
  /// Nil for no block and for a damaged entry; `isNone` tells them apart.
  public func checkedBlock(geometry: Geometry) -> HostOffset? {
    guard !hasReservedBits, let block, geometry.isClusterAligned(block),
      block.value < FormatLimits.maximumHostOffset
    else { return nil }
    return block
  }
}
