internal import Primitives

/// How many clusters each structure of a new image takes.
struct InitialClusters {
  let geometry: Geometry
  let l1EntryCount: Int
  let l1Clusters: Int
  /// The L2 tables that are there from the beginning: all, or none.
  let l2TableCount: Int
  /// The guest's clusters that are mapped from the beginning.
  let mappedClusters: Int
  /// Whether those are in another file.
  let hasDataFile: Bool
  private(set) var refcountTableClusters = 1
  private(set) var refcountBlockCount = 1

  init(geometry: Geometry, _ options: NewImageOptions) throws(Qcow2FormatError) {
    self.geometry = geometry
    l1EntryCount = geometry.l1EntryCount(forSize: options.virtualSize)
    l1Clusters = geometry.clusterCount(forBytes: l1EntryCount * 8)
    l2TableCount = options.mapsEverything ? l1EntryCount : 0
    mappedClusters =
      options.mapsEverything ? geometry.clusterCount(forBytes: options.virtualSize) : 0
    hasDataFile = options.dataFileName != nil
    guard clusterCount <= geometry.maximumFileSize >> geometry.clusterBits else {
      throw Self.tooLarge
    }
    // Blocks and table count themselves: grow both until they count everything, which limits bound
    // to a handful of rounds.
    while true {
      let blocks = clusterCount.dividedRoundingUp(by: geometry.entriesPerRefcountBlock)
      let tableClusters = geometry.clusterCount(forBytes: blocks * 8)
      if blocks <= refcountBlockCount, tableClusters <= refcountTableClusters { break }
      refcountBlockCount = max(blocks, refcountBlockCount)
      refcountTableClusters = max(tableClusters, refcountTableClusters)
    }
    let limit = FormatLimits.maximumRefcountTableBytes >> geometry.clusterBits
    guard refcountTableClusters <= limit, fileByteCount <= geometry.maximumFileSize else {
      throw Self.tooLarge
    }
  }

  private static let tooLarge = Qcow2FormatError(
    .tooLarge, "The image would be larger than its refcounts can count; use larger clusters")

  /// All clusters in use.
  var clusterCount: Int {
    1 + refcountTableClusters + refcountBlockCount + l1Clusters + l2TableCount
      + (hasDataFile ? 0 : mappedClusters)
  }

  var refcountTable: ByteRange { range(1, refcountTableClusters) }

  var refcountBlocks: ByteRange { range(1 + refcountTableClusters, refcountBlockCount) }

  /// The L1 table's entries, not rounded to clusters.
  var l1Table: ByteRange { ByteRange(offset: refcountBlocks.upper, count: l1EntryCount * 8) }

  var l2Tables: ByteRange {
    range(refcountBlocks.upper >> geometry.clusterBits + l1Clusters, l2TableCount)
  }

  /// The guest's data.
  var space: ByteRange {
    range(l2Tables.upper >> geometry.clusterBits, hasDataFile ? 0 : mappedClusters)
  }

  var fileByteCount: Int { mappedClusters == 0 ? l1Table.upper : space.upper }

  private func range(_ first: Int, _ count: Int) -> ByteRange {
    ByteRange(offset: first << geometry.clusterBits, count: count << geometry.clusterBits)
  }

  // MARK: - Tables

  /// The refcount table: an entry a block.
  var refcountTableEntries: ImageLayout.Piece.Entries {
    entries(UInt64(refcountBlocks.lower), refcountBlockCount)
  }

  /// The L1 table: an entry an L2 table.
  var l1Entries: ImageLayout.Piece.Entries {
    entries(L1Entry(l2Table: HostOffset(l2Tables.lower), isCopied: true).rawValue, l2TableCount)
  }

  /// All L2 tables, one behind the other: an entry a cluster of the guest.
  ///
  /// In a data file a cluster is where the guest sees it.
  var l2Entries: ImageLayout.Piece.Entries {
    let first = hasDataFile ? 0 : UInt64(space.lower)
    return entries(L2Entry.copiedMask | first, mappedClusters, geometry.l2EntryByteCount)
  }

  private func entries(
    _ first: UInt64, _ count: Int, _ entryByteCount: Int = 8
  ) -> ImageLayout.Piece.Entries {
    ImageLayout.Piece.Entries(
      first: first, step: geometry.clusterSize, count: count, entryByteCount: entryByteCount)
  }
}
