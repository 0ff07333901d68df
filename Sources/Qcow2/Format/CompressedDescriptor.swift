public import Primitives

/// Where a compressed cluster's data is: a byte offset and a count of 512-byte sectors (qcow2
/// specification, "Compressed Clusters Descriptor").
///
/// With x = 70 − cluster_bits: bits 0 to x−1 are the offset, bits x to 61 the number of sectors
/// besides the one in which the data starts. The exact length is unknown: the stream ends itself.
@frozen
public struct CompressedDescriptor: Hashable, Sendable {
  /// The first byte of the data, aligned to nothing.
  public let hostOffset: HostOffset
  /// The 512-byte sectors that follow the first one.
  public let additionalSectors: Int
  /// The cluster size's exponent, which decides the width of both.
  public let clusterBits: Int

  @usableFromInline static let sectorBits = 9

  /// Takes the descriptor out of an entry whose bit 62 is set.
  ///
  /// The largest possible end is below 2^62: nothing here overflows.
  @inlinable
  init(entry: L2Entry, clusterBits: Int) {
    let offsetBits = UInt64(70 - clusterBits)
    let descriptor = entry.rawValue & ((1 << 62) - 1)
    hostOffset = HostOffset(Int(truncatingIfNeeded: descriptor & ((1 << offsetBits) - 1)))
    additionalSectors = Int(truncatingIfNeeded: descriptor >> offsetBits)
    self.clusterBits = clusterBits
  }

  /// Makes the descriptor of `byteCount` bytes at `hostOffset`; nil when the place is at 0 or
  /// beyond what the offset's width can say, or the data is longer than the count can say.
  public init?(hostOffset: HostOffset, byteCount: Int, clusterBits: Int) {
    precondition(byteCount > 0, "compressed data has at least a byte")
    precondition(clusterBits >= 9 && clusterBits <= 21, "cluster_bits is 9 to 21")
    let limit = Self.offsetLimit(clusterBits: clusterBits)
    guard let range = ByteRange(checkedOffset: hostOffset.value, count: byteCount),
      hostOffset.value > 0, range.upper <= limit
    else { return nil }
    let sectors = ((range.upper - 1) >> Self.sectorBits) - (range.lower >> Self.sectorBits)
    guard sectors < 1 << (clusterBits - 8) else { return nil }
    self.hostOffset = hostOffset
    self.additionalSectors = sectors
    self.clusterBits = clusterBits
  }

  /// The end of the file bytes that a descriptor can name: 2^56, or less for clusters above
  /// 16 KiB.
  public static func offsetLimit(clusterBits: Int) -> Int {
    min(FormatLimits.maximumHostOffset, 1 << (70 - clusterBits))
  }

  /// Bits 0–61 of the entry.
  var rawValue: UInt64 {
    (UInt64(additionalSectors) << UInt64(70 - clusterBits)) | UInt64(hostOffset.value)
  }

  /// The bytes in which the stream is: from its first byte to the end of its last sector.
  @inlinable
  public var readableRange: ByteRange { ByteRange(hostOffset.value, sectorRange.upper) }

  /// The whole sectors in which the stream is.
  ///
  /// The clusters that they touch, up to three, each hold one reference for this descriptor.
  @inlinable
  public var sectorRange: ByteRange {
    let start = hostOffset.value.roundedDown(to: 512)
    return ByteRange(offset: start, count: (additionalSectors + 1) << Self.sectorBits)
  }

  /// The host clusters in which each descriptor like this one holds a reference.
  @inlinable
  public var touchedClusters: Range<ClusterIndex> {
    let range = sectorRange
    let end = ((range.upper - 1) >> clusterBits) + 1
    return ClusterIndex(range.lower >> clusterBits)..<ClusterIndex(end)
  }
}
