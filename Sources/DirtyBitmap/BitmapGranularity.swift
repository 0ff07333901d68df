internal import Primitives

/// The rules for granularities: how many bytes of the disk one bit stands for.
public enum BitmapGranularity {
  /// Throws `.invalidGranularity` unless `granularity` is a power of two from 512 to 2 GiB.
  public static func check(_ granularity: Int) throws(BitmapError) {
    guard granularity.isPowerOfTwo, granularity >= BitmapLimits.minimumGranularity else {
      throw .invalidGranularity
    }
    if granularity > BitmapLimits.maximumGranularity { throw .granularityTooLarge(granularity) }
  }

  /// The granularity of a bitmap added without one: the node's cluster size, but at least 4 KiB
  /// and at most 64 KiB; 64 KiB for a node without clusters.
  public static func defaultGranularity(clusterSize: Int?) -> Int {
    guard let clusterSize, clusterSize > 0 else { return 65536 }
    return min(max(clusterSize, 4096), 65536)
  }
}
