public import BlockLayer
internal import Execution
internal import Primitives
internal import Synchronization

/// Making the file shorter where nothing uses its end.
extension Qcow2Driver {
  /// Cuts off the end of the file that no cluster in use lies in, and gives up refcount blocks that
  /// count nothing; answers by how many bytes the file got shorter.
  ///
  /// Where references could not be given up, or the file cannot get shorter, nothing happens. No
  /// request may be under way.
  @discardableResult
  public func releaseFreeTail() async throws(BlockError) -> Int {
    try await prepareHeader()
    try await writeAllBack()
    guard tables.withLock({ !$0.isDirty && $0.hindered.isEmpty }) else { return 0 }
    while try await releaseEmptyBlocks() {}
    let end = try await endOfUse() << geometry.clusterBits
    let node = file.node
    let length = node.length
    guard length > end, node.driver.limits.growsOnWrite, node.driver is any ResizableImage else {
      return 0
    }
    try await commitLock.withLock { () async throws(BlockError) in
      // What is cut off has lost its last reference, durably.
      try await flushFile()
      try await node.resize(to: end, mayShrink: true)
      tables.withLock { $0.highWater = end >> geometry.clusterBits }
    }
    return length - end
  }

  /// Where the last cluster in use ends, in clusters.
  private func endOfUse() async throws(BlockError) -> Int {
    let (ranges, metadataEnd) = tables.withLock { tables in
      (tables.refcountTable.count, tables.metadataClusters.end)
    }
    for tableIndex in (0..<ranges).reversed() {
      let end = try await withRefcounts { tables throws(BlockError) in
        try tables.endOfUse(inRange: tableIndex)
      }
      // Never below metadata, even where a damaged image does not count it.
      if let end { return max(end, metadataEnd) }
    }
    return max(1, metadataEnd)
  }

  /// Gives up refcount blocks that count nothing but themselves: their entries in the refcount
  /// table go, durably, and then they are free.
  ///
  /// Says whether there were any. Everything must be written back.
  private func releaseEmptyBlocks() async throws(BlockError) -> Bool {
    var empty: [(tableIndex: Int, cluster: Int)] = []
    for tableIndex in tables.withLock({ $0.refcountTable.indices }) {
      let cluster = try await withRefcounts { tables throws(BlockError) in
        try tables.emptyBlock(tableIndex)
      }
      if let cluster { empty.append((tableIndex, cluster)) }
    }
    guard !empty.isEmpty else { return false }
    let node = file.node
    try await commitLock.withLock { () async throws(BlockError) in
      let table = tables.withLock { $0.refcountTableOffset.value }
      let none = encodeTable(CollectionOfOne(0))
      for (tableIndex, _) in empty {
        await raise(.reftableUpdate)
        try await node.write(
          ByteRange(offset: table + tableIndex * 8, count: 8), from: none.span.bytes)
      }
      try await flushFile()
    }
    for (tableIndex, cluster) in empty {
      let isCountedElsewhere = tables.withLock { $0.forgetBlock(tableIndex, cluster) }
      if isCountedElsewhere { try await giveBack(cluster, 1) }
    }
    try await writeAllBack()
    return true
  }
}

extension Tables {
  /// Where the last cluster in use of a refcount block's range ends; nil when none is.
  func endOfUse(inRange tableIndex: Int) throws(BlockError) -> RefcountStep<Int?> {
    guard try blockOffset(tableIndex) != 0 else { return .done(nil) }
    guard let block = refcounts.block(tableIndex) else { return .missing(tableIndex: tableIndex) }
    let codec = RefcountBlock(order: geometry.refcountOrder)
    let end = codec.zeroTail(
      in: block.bytes.span.bytes, range: 0..<geometry.entriesPerRefcountBlock)
    guard end > 0 else { return .done(nil) }
    return .done(geometry.firstCluster(ofRefcountBlock: tableIndex).value + end)
  }

  /// The cluster of a refcount block that counts nothing, or itself alone; nil for others.
  func emptyBlock(_ tableIndex: Int) throws(BlockError) -> RefcountStep<Int?> {
    let offset = try blockOffset(tableIndex)
    guard offset != 0 else { return .done(nil) }
    guard let block = refcounts.block(tableIndex) else { return .missing(tableIndex: tableIndex) }
    let codec = RefcountBlock(order: geometry.refcountOrder)
    let entries = 0..<geometry.entriesPerRefcountBlock
    let cluster = offset >> geometry.clusterBits
    let place = geometry.refcountPosition(of: ClusterIndex(cluster))
    let inUse = codec.nonzeroCount(in: block.bytes.span.bytes, range: entries)
    let own = place.tableIndex == tableIndex ? 1 : 0
    guard inUse == own else { return .done(nil) }
    if own == 1, codec.value(at: place.blockIndex, in: block.bytes.span.bytes) != 1 {
      return .done(nil)
    }
    return .done(cluster)
  }

  /// Forgets a refcount block whose entry on disk is gone; says whether another block counts its
  /// cluster.
  mutating func forgetBlock(_ tableIndex: Int, _ cluster: Int) -> Bool {
    refcountTable[tableIndex] = 0
    refcounts.drop(tableIndex)
    metadataClusters.remove(cluster)
    firstFree = min(firstFree, cluster)
    let isCountedElsewhere =
      geometry.refcountPosition(of: ClusterIndex(cluster)).tableIndex != tableIndex
    if !isCountedElsewhere { observer?(.freed(cluster), self) }
    return isCountedElsewhere
  }
}
