internal import Primitives

/// How much a persistent bitmap takes: bits, bytes and clusters (qcow2 specification, "Bitmap
/// data").
public struct BitmapSizes: Hashable, Sendable {
  /// One bit a granule of the virtual disk, the last one perhaps cut.
  public let bitCount: Int

  /// Makes the sizes of a bitmap for a disk of `virtualSize` bytes at a granularity of
  /// 2^`granularityBits`.
  ///
  /// Never overflows.
  public init(virtualSize: Int, granularityBits: Int) {
    precondition(virtualSize >= 0, "a disk has no negative size")
    precondition(granularityBits >= 0 && granularityBits < 63, "a granularity is below 2^63")
    bitCount = virtualSize.dividedRoundingUp(by: 1 << granularityBits)
  }

  /// The bytes that hold a bit: what QEMU's limit of 512 MiB is compared with.
  public var minimumByteCount: Int { bitCount.dividedRoundingUp(by: 8) }

  /// The bytes of the serialised form: whole words of 64 bits.
  public var serializedByteCount: Int { bitCount.dividedRoundingUp(by: 64) * 8 }

  /// The entries of the bitmap's table: one a cluster of its bytes.
  public func tableEntryCount(geometry: Geometry) -> Int {
    minimumByteCount.dividedRoundingUp(by: geometry.clusterSize)
  }

  /// The bits of the disk that one cluster of the bitmap's bytes tells of.
  public static func bitsPerCluster(geometry: Geometry) -> Int { geometry.clusterSize * 8 }

  /// Whether an image of this geometry may hold the bitmap: within QEMU's limits of bytes and of
  /// table entries.
  public func isStorable(geometry: Geometry) -> Bool {
    minimumByteCount <= FormatLimits.maximumBitmapBytes
      && tableEntryCount(geometry: geometry) <= FormatLimits.maximumBitmapTableEntries
  }
}
