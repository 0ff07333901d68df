/// The number of a host cluster: cluster 0 holds the header.
///
/// Ranges of it can be iterated. An index is below 2^47 in any file that the format can address
/// (2^56 bytes in clusters of 512).
@frozen
public struct ClusterIndex: Strideable, Hashable, Sendable {
  /// The number, never negative.
  public let value: Int

  /// Makes the index `value`, which must not be negative.
  @inlinable
  public init(_ value: Int) {
    precondition(value >= 0, "a cluster index is never negative")
    self.value = value
  }

  /// The cluster of `clusterBits` that holds the byte at `offset`.
  @inlinable
  public init(containing offset: HostOffset, clusterBits: Int) {
    value = offset.value >> clusterBits
  }

  /// Whether `left` is before `right` in the file.
  @inlinable
  public static func < (left: ClusterIndex, right: ClusterIndex) -> Bool {
    left.value < right.value
  }

  /// The clusters from this one to `other`.
  @inlinable
  public func distance(to other: ClusterIndex) -> Int { other.value - value }

  /// The cluster `count` further; traps on overflow.
  @inlinable
  public func advanced(by count: Int) -> ClusterIndex { ClusterIndex(value + count) }

  /// The cluster's first byte; traps when it is beyond `Int.max`, which no index of a checked
  /// offset is.
  @inlinable
  public func offset(clusterBits: Int) -> HostOffset {
    precondition(value <= Int.max >> clusterBits, "a cluster beyond the largest file offset")
    return HostOffset(value << clusterBits)
  }
}

extension ClusterIndex: CustomStringConvertible {
  /// The number in decimal.
  public var description: String { "\(value)" }
}
