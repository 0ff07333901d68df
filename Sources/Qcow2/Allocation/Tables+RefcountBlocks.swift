internal import BlockLayer
internal import Primitives

/// New refcount structures, one behind the other: blocks, perhaps a new refcount table, and then
/// clusters that stay free for those who asked.
struct RefcountArea: Sendable {
  /// The index in the refcount table of the first block.
  let tableIndex: Int
  /// The cluster of the first block.
  let first: Int
  /// How many blocks; they count all of the area.
  var blocks = 1
  /// The clusters of the new table behind the blocks; 0 when the present one has room.
  var tableClusters = 0

  /// How many clusters hold structures.
  var count: Int { blocks + tableClusters }
}

/// Making refcount blocks, and a larger refcount table.
extension Tables {
  /// Where the blocks go that range `tableIndex`, which has none, and those behind it need, so that
  /// `run` clusters which follow each other are counted and free.
  ///
  /// The blocks stand in front of the run, all of them: a block at the start of each range would
  /// leave no run longer than a range. Changes nothing.
  func refcountArea(for tableIndex: Int, run: Int) throws(BlockError) -> RefcountArea {
    let perBlock = geometry.entriesPerRefcountBlock
    let start = geometry.firstCluster(ofRefcountBlock: tableIndex).value
    var area = RefcountArea(tableIndex: tableIndex, first: max(start, firstFree, 1))
    // Blocks and table count themselves: both grow until they count everything.
    while true {
      let end = tableIndex + area.blocks
      if end > refcountTable.count {
        // Half as large again, so that the table seldom moves.
        area.tableClusters = max(end, refcountTable.count * 3 / 2)
          .dividedRoundingUp(by: geometry.tableEntriesPerCluster)
      }
      let needed = (area.first - start + area.count + run).dividedRoundingUp(by: perBlock)
      if needed <= area.blocks { break }
      area.blocks = needed
    }
    guard
      area.tableClusters <= FormatLimits.maximumRefcountTableBytes >> geometry.clusterBits
    else {
      throw BlockError(
        .noSpace, "the refcount table is at its largest: the image file cannot grow any more")
    }
    guard
      area.first + area.count + run <= FormatLimits.maximumHostOffset >> geometry.clusterBits
    else { throw BlockError(.noSpace, "the image file cannot grow any more") }
    return area
  }

  /// The first range with a block among those that `area` makes blocks for.
  func firstPresentBlock(in area: RefcountArea) -> Int? {
    let end = min(area.tableIndex + area.blocks, refcountTable.count)
    guard area.tableIndex < end else { return nil }
    return (area.tableIndex..<end).first { index in
      !RefcountTableEntry(rawValue: refcountTable[index]).isNone
    }
  }

  /// Makes the structures of `area`, which count themselves; all of their ranges were free.
  mutating func add(_ area: RefcountArea) throws(BlockError) {
    try checkHoldsNoMetadata(area.first..<area.first + area.count)
    observer?(.taking(area.first..<area.first + area.count), self)
    if area.tableClusters > 0 { moveRefcountTable(to: area) }
    for index in 0..<area.blocks {
      insertBlock(area.tableIndex + index, at: area.first + index)
    }
    _ = try change(area.first, area.count, by: 1)
    let table = area.first + area.blocks
    metadataClusters.insert(area.first..<table, as: .refcountBlock)
    metadataClusters.insert(table..<area.first + area.count, as: .refcountTable)
    highWater = max(highWater, area.first + area.count)
  }

  private mutating func insertBlock(_ tableIndex: Int, at cluster: Int) {
    let offset = cluster << geometry.clusterBits
    let block = CachedRefcountBlock(
      tableIndex: tableIndex, offset: offset,
      bytes: Array(repeating: 0, count: geometry.clusterSize))
    // Also where it stays zero it has to be written: the file may hold anything there.
    block.isDirty = true
    refcounts.insert(block)
    refcountTable[tableIndex] = UInt64(offset)
    dirtyRefcountTable.insert(tableIndex)
  }

  /// Moves the refcount table behind the blocks of `area`, which count it there.
  ///
  /// On disk the old one holds until the header names the new one.
  private mutating func moveRefcountTable(to area: RefcountArea) {
    let perCluster = geometry.tableEntriesPerCluster
    // The old table's clusters go back, once the header on disk no longer names them.
    removed.append(
      RemovedReference(
        cluster: refcountTableOffset.value >> geometry.clusterBits,
        count: refcountTable.count / perCluster, mayPunch: false))
    let added = area.tableClusters * perCluster - refcountTable.count
    refcountTable += Array(repeating: 0, count: added)
    refcountTableOffset = HostOffset((area.first + area.blocks) << geometry.clusterBits)
    isRefcountTableMoved = true
  }
}
