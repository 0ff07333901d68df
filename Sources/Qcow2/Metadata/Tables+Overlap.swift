internal import BlockLayer
internal import Primitives

/// Checks that nothing is written where something else stands ("Ordering" does not help an image
/// whose refcounts or pointers are wrong).
///
/// What is found ends writing: the image is marked as corrupt, and still reads.
extension Tables {
  /// The error of a write that would destroy metadata; no write is allowed after it.
  mutating func preventWrite(over owner: MetadataOwner, cluster: Int) -> BlockError {
    end(
      .corruption(
        "Preventing invalid write on metadata (overlaps with \(owner.name)), "
          + "cluster \(cluster)"))
  }

  /// Ends writing for `error`, unless it has ended before.
  mutating func end(_ error: BlockError) -> BlockError {
    if poison == nil { poison = error }
    return error
  }

  /// Ends writing, and throws, if clusters that are about to be taken hold metadata.
  ///
  /// They have refcount 0 then: the image is damaged, and using them would destroy more.
  mutating func checkHoldsNoMetadata(_ clusters: Range<Int>) throws(BlockError) {
    for cluster in clusters {
      guard let owner = metadataClusters[cluster] else { continue }
      throw end(
        .corruption(
          "Preventing invalid allocation on metadata (overlaps with \(owner.name)): cluster "
            + "\(cluster) has refcount 0"))
    }
  }

  /// Ends writing, and throws, if something of the plan would be written over metadata of another
  /// class.
  mutating func checkPlaces(of plan: CommitPlan) throws(BlockError) {
    for block in plan.refcountBlocks {
      try check(ByteRange(offset: block.offset, count: 1), holds: .refcountBlock)
    }
    for table in plan.newTables {
      try check(ByteRange(offset: table, count: 1), holds: .activeL2Table)
    }
    for slice in plan.slices {
      try check(ByteRange(offset: slice.offset, count: 1), holds: .activeL2Table)
    }
    try check(plan.refcountTable, at: plan.refcountTableOffset, holds: .refcountTable)
    try check(plan.l1, at: plan.l1Offset, holds: .activeL1Table)
  }

  private mutating func check(
    _ table: CommitPlan.TableWrite, at offset: HostOffset, holds owner: MetadataOwner
  ) throws(BlockError) {
    switch table {
    case .nothing: return
    case .entries(let entries):
      for (index, _) in entries {
        try check(ByteRange(offset: offset.value + index * 8, count: 8), holds: owner)
      }
    case .moved(let entries):
      try check(ByteRange(offset: offset.value, count: entries.count * 8), holds: owner)
    }
  }

  private mutating func check(
    _ range: ByteRange, holds owner: MetadataOwner
  ) throws(BlockError) {
    for cluster in geometry.clusters(touchedBy: range) {
      guard let other = metadataClusters[cluster.value], other != owner else { continue }
      throw preventWrite(over: other, cluster: cluster.value)
    }
  }

  /// Throws if what an L1 entry names is something else than an L2 table of the file.
  func checkIsTable(_ table: HostOffset, l1Index: Int) throws(BlockError) {
    let cluster = table.value >> geometry.clusterBits
    // Every write that maps something comes through here: no text is made before it is needed.
    func place() -> String {
      "L2 table offset \(hexText(table.value)) (L1 index: \(hexText(l1Index)))"
    }
    guard cluster < highWater else {
      throw .corruption("\(place()) is beyond the end of the file")
    }
    if let owner = metadataClusters[cluster], owner != .activeL2Table, owner != .inactiveL2Table {
      throw .corruption(
        "Preventing invalid write on metadata (overlaps with \(owner.name)): \(place())")
    }
    if tablesNamedTwice.contains(cluster) {
      throw .corruption("\(place()) is named by another L1 entry too")
    }
  }

  // MARK: - What is where

  /// Notes every cluster that the header, the refcount table and the L1 table name.
  ///
  /// Refcount blocks before L2 tables: the former are trusted more, as a check shows.
  mutating func collectMetadataClusters() {
    for (region, range) in header.regions {
      for cluster in geometry.clusters(touchedBy: range) {
        metadataClusters.insert(cluster.value, as: region.owner)
      }
    }
    for entry in refcountTable {
      if let block = RefcountTableEntry(rawValue: entry).checkedBlock(geometry: geometry) {
        metadataClusters.insert(block.value >> geometry.clusterBits, as: .refcountBlock)
      }
    }
    for entry in l1 {
      if let table = L1Entry(rawValue: entry).l2Table {
        let cluster = table.value >> geometry.clusterBits
        if metadataClusters[cluster] == .activeL2Table { tablesNamedTwice.insert(cluster) }
        metadataClusters.insert(cluster, as: .activeL2Table)
      }
    }
  }
}

extension MetadataRegion {
  /// The class of what stands there.
  fileprivate var owner: MetadataOwner {
    switch self {
    case .header: .header
    case .activeL1Table: .activeL1Table
    case .refcountTable: .refcountTable
    case .snapshotTable: .snapshotTable
    case .bitmapDirectory: .bitmapDirectory
    case .encryptionHeader: .encryptionHeader
    }
  }
}
