/// An entry of an L2 table with subclusters, 16 bytes (qcow2 specification, "Extended L2 Entries").
///
/// First the word of a standard entry without its zero flag; then a bitmap: bit i says that
/// subcluster i is allocated, bit 32 + i that it reads as zeros. Recognised so that it can be
/// refused by name.
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
