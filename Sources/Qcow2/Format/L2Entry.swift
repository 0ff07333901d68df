internal import Primitives

/// An entry of an L2 table, 8 bytes: where a guest cluster's data is (qcow2 specification, "L2
/// table entry", standard and compressed cluster descriptor).
///
/// Standard: bit 0 reads as zeros (version 3), bits 9–55 host offset, bit 62 clear, bit 63 refcount
/// exactly 1. Compressed: bit 62 set, bits 0–61 see `CompressedDescriptor`.
@frozen
public struct L2Entry: Hashable, Sendable {
  /// The 64 bits, in the machine's order.
  public let rawValue: UInt64

  /// Bits 9–55.
  @usableFromInline static let offsetMask: UInt64 = 0x00ff_ffff_ffff_fe00
  /// Bits of a standard entry that must be zero.
  @usableFromInline static let reservedMask: UInt64 = 0x3f00_0000_0000_01fe
  @usableFromInline static let zeroMask: UInt64 = 1
  @usableFromInline static let compressedMask: UInt64 = 1 << 62
  @usableFromInline static let copiedMask: UInt64 = 1 << 63

  /// What an entry says about its cluster.
  @frozen
  public enum Kind: Hashable, Sendable {
    /// Nothing: the backing file, or zeros.
    case unallocated
    /// The data is at this place, aligned or not.
    case normal(HostOffset)
    /// Zeros, whatever the backing file has.
    case zeroPlain
    /// Zeros; the host cluster at this place, aligned or not, is reserved for it.
    case zeroAllocated(HostOffset)
    /// The data is stored compressed.
    case compressed(CompressedDescriptor)
  }

  /// Makes the entry that a table holds.
  @inlinable
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  @inlinable
  init(offset: HostOffset, flags: UInt64) {
    let bits = UInt64(offset.value)
    precondition(bits & ~Self.offsetMask == 0, "no data cluster is at \(offset)")
    rawValue = bits | flags
  }

  /// The entry of a cluster whose data is at `offset`; `isCopied` says that nothing else refers to
  /// it.
  @inlinable
  public static func normal(_ offset: HostOffset, isCopied: Bool) -> L2Entry {
    L2Entry(offset: offset, flags: isCopied ? copiedMask : 0)
  }

  /// The entry of a cluster of zeros that keeps the host cluster at `offset`.
  @inlinable
  public static func zeroAllocated(_ offset: HostOffset, isCopied: Bool) -> L2Entry {
    L2Entry(offset: offset, flags: zeroMask | (isCopied ? copiedMask : 0))
  }

  /// The entry of a compressed cluster.
  public static func compressed(_ descriptor: CompressedDescriptor) -> L2Entry {
    L2Entry(rawValue: descriptor.rawValue | compressedMask)
  }

  /// The entry of a cluster that is not allocated.
  @inlinable public static var unallocated: L2Entry { L2Entry(rawValue: 0) }

  /// The entry of a cluster of zeros without a host cluster.
  @inlinable public static var zeroPlain: L2Entry { L2Entry(rawValue: zeroMask) }

  /// What the entry says about its cluster, reserved bits ignored.
  ///
  /// `hasDataFile`: data may be at offset 0, if the copied flag is set; else 0 is none.
  @inlinable
  public func kind(clusterBits: Int, hasDataFile: Bool = false) -> Kind {
    guard !isCompressed else {
      return .compressed(CompressedDescriptor(entry: self, clusterBits: clusterBits))
    }
    let offset = rawValue & Self.offsetMask
    if rawValue & Self.zeroMask == 0 {
      guard offset != 0 || (hasDataFile && isCopied) else { return .unallocated }
      return .normal(HostOffset(Int(truncatingIfNeeded: offset)))
    }
    return offset == 0 ? .zeroPlain : .zeroAllocated(HostOffset(Int(truncatingIfNeeded: offset)))
  }

  /// Whether the zero flag of a standard entry is set.
  @inlinable public var isZero: Bool { rawValue & Self.zeroMask != 0 }

  /// Whether the cluster is stored compressed.
  @inlinable public var isCompressed: Bool { rawValue & Self.compressedMask != 0 }

  /// Whether the cluster's refcount is said to be 1, so that it may be written in place.
  @inlinable public var isCopied: Bool { rawValue & Self.copiedMask != 0 }

  /// The same entry with the copied flag set or clear.
  @inlinable
  public func copied(_ isCopied: Bool) -> L2Entry {
    L2Entry(rawValue: rawValue & ~Self.copiedMask | (isCopied ? Self.copiedMask : 0))
  }
}

/// What can be wrong with an L2 entry taken by itself.
public enum L2EntryDefect: Hashable, Sendable {
  /// A reserved bit of a standard entry is set. Reads ignore it; writers refuse the entry.
  case reservedBits
  /// The host offset is not at a cluster's start.
  case misaligned(HostOffset)
  /// The zero flag is set in an image of version 2, which has none.
  case zeroFlagInVersion2
  /// The copied flag is set, and there is no host offset.
  case copiedWithoutOffset
  /// The copied flag is set on a compressed cluster.
  case copiedCompressed
  /// The compressed data would lie beyond the largest host offset.
  case compressedBeyondLimit(HostOffset)
}

extension L2Entry {
  /// Everything that is wrong with the entry by itself; empty for a sound one.
  public func defects(geometry: Geometry, version: FormatVersion) -> [L2EntryDefect] {
    switch kind(clusterBits: geometry.clusterBits) {
    case .compressed(let descriptor):
      var found: [L2EntryDefect] = isCopied ? [.copiedCompressed] : []
      if descriptor.sectorRange.upper > FormatLimits.maximumHostOffset {
        found.append(.compressedBeyondLimit(descriptor.hostOffset))
      }
      return found
    case .unallocated, .zeroPlain:
      return standardDefects(version) + (isCopied ? [.copiedWithoutOffset] : [])
    case .normal(let offset), .zeroAllocated(let offset):
      let isAligned = geometry.isClusterAligned(offset)
      return standardDefects(version) + (isAligned ? [] : [.misaligned(offset)])
    }
  }

  private func standardDefects(_ version: FormatVersion) -> [L2EntryDefect] {
    var found: [L2EntryDefect] = []
    if rawValue & Self.reservedMask != 0 { found.append(.reservedBits) }
    if version == .v2, rawValue & Self.zeroMask != 0 { found.append(.zeroFlagInVersion2) }
    return found
  }
}
