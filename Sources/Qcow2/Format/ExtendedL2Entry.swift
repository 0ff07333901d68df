/// What an L2 table says of one cluster: a standard entry, 8 bytes; and with subclusters a bitmap
/// behind it, 16 bytes in all (qcow2 specification, "Extended L2 Entries").
///
/// In the bitmap bit i says that subcluster i is allocated, bit 32 + i that it reads as zeros. A
/// standard table's entry has none: its bitmap is 0 here.
@frozen
public struct ExtendedL2Entry: Hashable, Sendable {
  /// The first word; with subclusters its bit 0 is reserved.
  public var entry: L2Entry
  /// The second word.
  public var bitmap: UInt64

  /// The subclusters of a cluster.
  public static let subclusterCount = 32
  /// The bitmap of a cluster that reads as zeros.
  public static let allZero: UInt64 = 0xffff_ffff_0000_0000

  /// Makes the entry of its two words.
  @inlinable
  public init(entry: L2Entry, bitmap: UInt64 = 0) {
    self.entry = entry
    self.bitmap = bitmap
  }

  /// Bits 9–55 of the first word: where the host cluster is, aligned or not; 0 for none.
  public var hostOffset: Int { Int(truncatingIfNeeded: entry.rawValue & L2Entry.offsetMask) }

  /// What can be wrong with the bitmap.
  public enum Defect: Hashable, Sendable {
    /// A subcluster is both allocated and zero.
    case dataAndZeros
    /// A subcluster is allocated, and there is no host cluster.
    case dataWithoutCluster
    /// A compressed cluster has no subclusters.
    case bitmapOfCompressed
  }

  /// What is wrong with the bitmap; nil for a sound one.
  ///
  /// For images without an external data file: a host offset of 0 is none.
  public var defect: Defect? {
    if entry.isCompressed { return bitmap == 0 ? nil : .bitmapOfCompressed }
    if hostOffset == 0, allocated != 0 { return .dataWithoutCluster }
    return allocated & zeros == 0 ? nil : .dataAndZeros
  }

  /// Bit i: subcluster i is allocated.
  @inlinable public var allocated: UInt32 { UInt32(truncatingIfNeeded: bitmap) }

  /// Bit i: subcluster i reads as zeros.
  @inlinable public var zeros: UInt32 { UInt32(truncatingIfNeeded: bitmap >> 32) }

  /// The same entry with other subclusters.
  @inlinable
  public func with(allocated: UInt32, zeros: UInt32) -> ExtendedL2Entry {
    ExtendedL2Entry(entry: entry, bitmap: UInt64(zeros) << 32 | UInt64(allocated))
  }

  /// What a subcluster is.
  public enum Subcluster: Hashable, Sendable {
    /// The backing file, or zeros.
    case unallocated
    /// Data in the host cluster.
    case normal
    /// Zeros.
    case zero
    /// Part of compressed data.
    case compressed
    /// Both allocated and zero, or allocated without a host cluster: the entry is damaged.
    case invalid
  }

  /// What subcluster `index`, 0 to 31, is.
  ///
  /// `hasDataFile`: offset 0 is a place like any other, if the copied flag is set.
  public func subcluster(_ index: Int, hasDataFile: Bool = false) -> Subcluster {
    precondition(index >= 0 && index < Self.subclusterCount, "subclusters are 0 to 31")
    if entry.isCompressed { return .compressed }
    let isAllocated = (allocated >> UInt32(index)) & 1 != 0
    let isZero = (zeros >> UInt32(index)) & 1 != 0
    if isAllocated {
      return isZero || entry.hostCluster(hasDataFile: hasDataFile) == nil ? .invalid : .normal
    }
    return isZero ? .zero : .unallocated
  }

  /// How many subclusters from `index` on are what that one is, within the cluster.
  public func sameSubclusters(from index: Int) -> Int {
    let left = Self.subclusterCount - index
    let isAllocated = (allocated >> UInt32(index)) & 1 != 0
    let isZero = (zeros >> UInt32(index)) & 1 != 0
    let allocatedRun = (isAllocated ? ~allocated : allocated) >> UInt32(index)
    let zeroRun = (isZero ? ~zeros : zeros) >> UInt32(index)
    return min(left, (allocatedRun | zeroRun).trailingZeroBitCount)
  }
}

extension L2Entry {
  /// The host cluster that a standard entry names, aligned or not; nil for none.
  ///
  /// `hasDataFile`: offset 0 is a place like any other, if the copied flag is set.
  @inlinable
  public func hostCluster(hasDataFile: Bool = false) -> HostOffset? {
    let offset = rawValue & Self.offsetMask
    guard offset != 0 || (hasDataFile && isCopied) else { return nil }
    return HostOffset(Int(truncatingIfNeeded: offset))
  }
}
