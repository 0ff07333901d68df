public import Primitives

/// How refcounts lie in a refcount block: one cluster of unsigned integers of 1 to 64 bits (qcow2
/// specification, "Host cluster management").
///
/// Widths of 8 bits and above are big-endian. Below, entries fill each byte from its least
/// significant bit. Loaded little-endian, 64 bits therefore hold entries of any width in their
/// order from the least significant bit, each entry's own bytes perhaps reversed: enough to tell
/// which are zero, and that is how the scans go, a word at a time.
@frozen
public struct RefcountBlock: Hashable, Sendable {
  /// The exponent of the width in bits: 0 to 6.
  public let order: Int

  /// Makes the layout of width 2^`order` bits.
  @inlinable
  public init(order: Int) {
    precondition(order >= 0 && order <= 6, "refcount_order is 0 to 6, not \(order)")
    self.order = order
  }

  /// The largest value of an entry.
  @inlinable public var maximum: UInt64 { UInt64.max >> UInt64(64 - (1 << order)) }

  /// The number of entries of `byteCount` bytes.
  @inlinable
  public func entryCount(byteCount: Int) -> Int { (byteCount << 3) >> order }

  /// The value of entry `index`, which must be in the block.
  @inlinable
  public func value(at index: Int, in block: RawSpan) -> UInt64 {
    switch order {
    case 4: return UInt64(block.bigEndian(UInt16.self, at: index << 1))
    case 3: return UInt64(block.bigEndian(UInt8.self, at: index))
    case 5: return UInt64(block.bigEndian(UInt32.self, at: index << 2))
    case 6: return block.bigEndian(UInt64.self, at: index << 3)
    default:
      let byte = block.bigEndian(UInt8.self, at: (index << order) >> 3)
      return UInt64(byte >> UInt8((index << order) & 7)) & maximum
    }
  }

  /// Sets entry `index`, which must be in the block, to `value`, which must fit its width.
  @inlinable
  public func store(_ value: UInt64, at index: Int, in block: inout MutableRawSpan) {
    precondition(value <= maximum, "a refcount of \(value) does not fit into the block's width")
    switch order {
    case 4: block.storeBigEndian(UInt16(truncatingIfNeeded: value), at: index << 1)
    case 3: block.storeBigEndian(UInt8(truncatingIfNeeded: value), at: index)
    case 5: block.storeBigEndian(UInt32(truncatingIfNeeded: value), at: index << 2)
    case 6: block.storeBigEndian(value, at: index << 3)
    default:
      let place = (index << order) >> 3
      let shift = UInt8((index << order) & 7)
      let mask = UInt8(truncatingIfNeeded: maximum) << shift
      let byte = block.bigEndian(UInt8.self, at: place)
      block.storeBigEndian(byte & ~mask | (UInt8(truncatingIfNeeded: value) << shift), at: place)
    }
  }
}
