public import Primitives

/// The sizes that everything in an image follows from: cluster size, width of L2 entries, width of
/// refcounts.
@frozen
public struct Geometry: Hashable, Sendable {
  /// The cluster size's exponent: 9 to 21.
  public let clusterBits: Int
  /// The exponent of the refcounts' width in bits: 0 to 6.
  public let refcountOrder: Int
  /// Whether L2 entries have 16 bytes and clusters 32 subclusters.
  public let hasExtendedL2: Bool
  /// The exponent of the number of entries of an L2 table.
  public let l2Bits: Int

  /// Makes the geometry; numbers beyond the format's limits are a programmer's mistake (a parsed
  /// header's are checked).
  @inlinable
  public init(clusterBits: Int, refcountOrder: Int = 4, hasExtendedL2: Bool = false) {
    precondition(
      clusterBits >= 9 && clusterBits <= 21, "cluster_bits is 9 to 21, not \(clusterBits)")
    precondition(
      refcountOrder >= 0 && refcountOrder <= 6, "refcount_order is 0 to 6, not \(refcountOrder)")
    self.clusterBits = clusterBits
    self.refcountOrder = refcountOrder
    self.hasExtendedL2 = hasExtendedL2
    self.l2Bits = clusterBits - (hasExtendedL2 ? 4 : 3)
  }

  /// The cluster size in bytes.
  @inlinable public var clusterSize: Int { 1 << clusterBits }

  /// The number of entries of an L2 table, which fills one cluster.
  @inlinable public var l2EntriesPerTable: Int { 1 << l2Bits }

  /// The size of an L2 entry in bytes: 8, or 16.
  @inlinable public var l2EntryByteCount: Int { hasExtendedL2 ? 16 : 8 }

  /// The size of a subcluster in bytes; that of a cluster where there are none.
  @inlinable public var subclusterSize: Int { hasExtendedL2 ? clusterSize >> 5 : clusterSize }

  /// The width of a refcount in bits: 1 to 64.
  @inlinable public var refcountBits: Int { 1 << refcountOrder }

  /// The largest value that a refcount can hold.
  @inlinable public var maximumRefcount: UInt64 { UInt64.max >> UInt64(64 - refcountBits) }

  /// The number of refcounts of a refcount block, which fills one cluster.
  @inlinable public var entriesPerRefcountBlock: Int { 1 << (clusterBits + 3 - refcountOrder) }

  /// The number of 8-byte entries of a cluster: of the refcount table, an L1 or a bitmap table.
  @inlinable public var tableEntriesPerCluster: Int { 1 << (clusterBits - 3) }

  /// The number of clusters that `byteCount` bytes from a cluster's start touch.
  @inlinable
  public func clusterCount(forBytes byteCount: Int) -> Int {
    byteCount.dividedRoundingUp(by: clusterSize)
  }
}

/// Where the mapping of a guest byte is found (qcow2 specification, "Cluster mapping").
@frozen
public struct GuestAddress: Hashable, Sendable {
  /// The index in the L1 table; may be beyond a small table's end.
  public let l1Index: Int
  /// The index in the L2 table.
  public let l2Index: Int
  /// The byte in the cluster.
  public let offsetInCluster: Int

  @inlinable
  init(l1Index: Int, l2Index: Int, offsetInCluster: Int) {
    self.l1Index = l1Index
    self.l2Index = l2Index
    self.offsetInCluster = offsetInCluster
  }
}

extension Geometry {
  /// The exponent of the number of guest bytes that one L1 entry maps.
  @inlinable public var l1EntryCoverageBits: Int { clusterBits + l2Bits }

  /// The number of guest bytes that one L1 entry maps.
  @inlinable public var bytesPerL1Entry: Int { 1 << l1EntryCoverageBits }

  /// Where the mapping of the guest byte at `offset` is found.
  @inlinable
  public func split(_ offset: GuestOffset) -> GuestAddress {
    GuestAddress(
      l1Index: offset.value >> l1EntryCoverageBits,
      l2Index: (offset.value >> clusterBits) & (l2EntriesPerTable - 1),
      offsetInCluster: offset.value & (clusterSize - 1))
  }

  /// The subcluster of its cluster in which the guest byte at `offset` is: 0 to 31, or 0.
  @inlinable
  public func subclusterIndex(_ offset: GuestOffset) -> Int {
    (offset.value & (clusterSize - 1)) / subclusterSize
  }

  /// The first guest byte mapped by entry `l2Index` of the L2 table at `l1Index`, or nil when it
  /// is beyond `Int.max`.
  @inlinable
  public func guestOffset(l1Index: Int, l2Index: Int) -> GuestOffset? {
    precondition(l1Index >= 0 && l2Index >= 0 && l2Index < l2EntriesPerTable, "a bad index")
    guard l1Index <= Int.max >> l1EntryCoverageBits else { return nil }
    return GuestOffset((l1Index << l1EntryCoverageBits) | (l2Index << clusterBits))
  }

  /// The number of L1 entries that map `virtualSize` bytes.
  ///
  /// Never overflows.
  @inlinable
  public func l1EntryCount(forSize virtualSize: Int) -> Int {
    virtualSize.dividedRoundingUp(by: bytesPerL1Entry)
  }

  /// The largest virtual size that an L1 table within its limit maps.
  public var maximumVirtualSize: Int {
    (FormatLimits.maximumL1TableBytes / 8) << l1EntryCoverageBits
  }
}

extension Geometry {
  /// The cluster that holds the byte at `offset` of the file.
  @inlinable
  public func cluster(containing offset: HostOffset) -> ClusterIndex {
    ClusterIndex(containing: offset, clusterBits: clusterBits)
  }

  /// The first byte of a cluster in the file.
  @inlinable
  public func offset(of cluster: ClusterIndex) -> HostOffset {
    cluster.offset(clusterBits: clusterBits)
  }

  /// Whether `offset` is at a cluster's start.
  @inlinable
  public func isClusterAligned(_ offset: HostOffset) -> Bool { offset.isAligned(to: clusterSize) }

  /// The clusters that `range` of the file touches.
  @inlinable
  public func clusters(touchedBy range: ByteRange) -> Range<ClusterIndex> {
    let first = range.lower >> clusterBits
    guard !range.isEmpty else { return ClusterIndex(first)..<ClusterIndex(first) }
    return ClusterIndex(first)..<ClusterIndex(((range.upper - 1) >> clusterBits) + 1)
  }

  /// The index in the refcount table of the block that counts `cluster`, and the index of the
  /// count in that block (qcow2 specification, "Host cluster management").
  @inlinable
  public func refcountPosition(of cluster: ClusterIndex) -> (tableIndex: Int, blockIndex: Int) {
    let bits = clusterBits + 3 - refcountOrder
    return (cluster.value >> bits, cluster.value & ((1 << bits) - 1))
  }

  /// The first cluster that the refcount block at `tableIndex` of the table counts.
  @inlinable
  public func firstCluster(ofRefcountBlock tableIndex: Int) -> ClusterIndex {
    ClusterIndex(tableIndex * entriesPerRefcountBlock)
  }

  /// The number of file bytes that one refcount block counts.
  @inlinable
  public var bytesPerRefcountBlock: Int { 1 << (2 * clusterBits + 3 - refcountOrder) }

  /// The end of the largest file whose clusters a refcount table within its limit counts, and
  /// table entries can name.
  public var maximumFileSize: Int {
    let blocks = FormatLimits.maximumRefcountTableBytes / 8
    let (counted, overflow) = blocks.multipliedReportingOverflow(by: bytesPerRefcountBlock)
    return overflow
      ? FormatLimits.maximumHostOffset : min(counted, FormatLimits.maximumHostOffset)
  }
}
