/// An entry of an L2 table with subclusters, 16 bytes (qcow2 specification, "Extended L2 Entries").
///
/// First the word of a standard entry without its zero flag; then a bitmap: bit i says that
/// subcluster i is allocated, bit 32 + i that it reads as zeros.
@frozen
public struct ExtendedL2Entry: Hashable, Sendable {
  /// The first word.
  public let entry: L2Entry
  /// The second word.
  public let bitmap: UInt64

  /// The subclusters of a cluster.
  public static let subclusterCount = 32

  /// Makes the entry of its two words.
  @inlinable
  public init(entry: L2Entry, bitmap: UInt64) {
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
    let allocated = bitmap & 0xffff_ffff
    if hostOffset == 0, allocated != 0 { return .dataWithoutCluster }
    return allocated & bitmap >> 32 == 0 ? nil : .dataAndZeros
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
  public func subcluster(_ index: Int) -> Subcluster {
    precondition(index >= 0 && index < Self.subclusterCount, "subclusters are 0 to 31")
    if entry.isCompressed { return .compressed }
    let isAllocated = (bitmap >> UInt64(index)) & 1 != 0
    let isZero = (bitmap >> UInt64(index + 32)) & 1 != 0
    if isAllocated {
      let hasHostCluster = entry.rawValue & L2Entry.offsetMask != 0
      return isZero || !hasHostCluster ? .invalid : .normal
    }
    return isZero ? .zero : .unallocated
  }
}
