internal import BlockLayer
internal import Execution
internal import Primitives
internal import Synchronization

/// Another width of refcounts: new blocks and a new table behind everything, which no one refers to
/// and so a crash forgets; one write of the header, which names them and their width; then the old
/// ones are freed.
extension Qcow2Driver {
  /// Gives every refcount 2^`order` bits.
  ///
  /// Throws when one does not fit. No request may be under way.
  func changeRefcountWidth(order: Int) async throws(BlockError) {
    try await prepareHeader()
    try await writeAllBack()
    guard tables.withLock({ !$0.isDirty && $0.hindered.isEmpty }) else {
      throw BlockError(.inUse, "The image has clusters that are still to be freed")
    }
    let plan = try await planWidth(order)
    let old = tables.withLock { $0.refcountStructures }
    try await commitLock.withLock { () async throws(BlockError) in
      let node = file.node
      for index in plan.ranges.indices {
        let bytes = try await blockBytes(index, of: plan)
        let offset = (plan.first + index) << geometry.clusterBits
        await raise(.refblockAllocWrite)
        try await node.write(
          ByteRange(offset: offset, count: bytes.count), from: bytes.span.bytes)
      }
      let table = plan.table(clusterBits: geometry.clusterBits)
      let bytes = encodeTable(table)
      await raise(.reftableGrow)
      try await node.write(
        ByteRange(offset: plan.tableOffset.value, count: bytes.count), from: bytes.span.bytes)
      try await flushFile()
      try await patchHeader { cluster in
        cluster.header.refcountOrder = order
        cluster.header.refcountTableOffset = plan.tableOffset
        cluster.header.refcountTableClusters = plan.tableClusters
        return .refcounts
      }
      tables.withLock { $0.switchRefcounts(to: plan, table) }
    }
    for cluster in old { try await giveBack(cluster, 1) }
    try await writeAllBack()
  }

  /// Looks at every refcount, and finds the place of the new structures.
  private func planWidth(_ order: Int) async throws(BlockError) -> RefcountWidthPlan {
    var plan = RefcountWidthPlan(
      geometry: Geometry(
        clusterBits: geometry.clusterBits, refcountOrder: order,
        hasExtendedL2: geometry.hasExtendedL2))
    let (present, rangeCount, end) = tables.withLock { tables in
      (
        RefcountBlock(order: tables.geometry.refcountOrder), tables.refcountTable.count,
        max(tables.highWater, tables.metadataClusters.end)
      )
    }
    plan.first = end
    let entries = 0..<present.entryCount(byteCount: geometry.clusterSize)
    for tableIndex in 0..<rangeCount {
      guard let bytes = try await presentBlock(tableIndex) else { continue }
      let span = bytes.span.bytes
      var index = present.firstNonzero(in: span, range: entries)
      while let entry = index {
        let cluster = tableIndex * entries.count + entry
        let value = present.value(at: entry, in: span)
        guard value <= plan.geometry.maximumRefcount else {
          throw BlockError(
            .invalidArgument,
            "Cannot decrease refcount entry width to \(1 << order) bits: Cluster at offset "
              + "0x\(String(cluster << geometry.clusterBits, radix: 16)) has a refcount of "
              + "\(value)")
        }
        plan.add(cluster)
        index = present.firstNonzero(in: span, range: entry + 1..<entries.upperBound)
      }
    }
    try plan.place()
    return plan
  }

  /// The new block for the plan's range number `index`.
  private func blockBytes(
    _ index: Int, of plan: RefcountWidthPlan
  ) async throws(BlockError) -> [UInt8] {
    let present = RefcountBlock(order: tables.withLock { $0.geometry.refcountOrder })
    let new = RefcountBlock(order: plan.geometry.refcountOrder)
    let perPresent = present.entryCount(byteCount: geometry.clusterSize)
    let clusters = plan.clusters(ofRange: plan.ranges[index])
    var bytes = [UInt8](repeating: 0, count: geometry.clusterSize)
    let presentRanges = clusters.lowerBound / perPresent...(clusters.upperBound - 1) / perPresent
    for tableIndex in presentRanges {
      guard let old = try await presentBlock(tableIndex) else { continue }
      let start = tableIndex * perPresent
      let common = clusters.clamped(to: start..<start + perPresent)
      var elements = bytes.mutableSpan
      var span = elements.mutableBytes
      for cluster in common {
        let value = present.value(at: cluster - start, in: old.span.bytes)
        if value != 0 { new.store(value, at: cluster - clusters.lowerBound, in: &span) }
      }
    }
    var elements = bytes.mutableSpan
    var span = elements.mutableBytes
    for cluster in clusters.clamped(to: plan.first..<plan.end) {
      new.store(1, at: cluster - clusters.lowerBound, in: &span)
    }
    return bytes
  }

  /// The bytes of the present block for a range of clusters; nil where there is none.
  private func presentBlock(_ tableIndex: Int) async throws(BlockError) -> [UInt8]? {
    try await withRefcounts { tables throws(BlockError) in
      guard try tables.blockOffset(tableIndex) != 0 else { return .done(nil) }
      guard let block = tables.refcounts.block(tableIndex) else {
        return .missing(tableIndex: tableIndex)
      }
      return .done(block.bytes)
    }
  }
}

/// Where refcounts of another width go.
struct RefcountWidthPlan: Sendable {
  /// The image's geometry with that width.
  let geometry: Geometry
  /// The first cluster of the new blocks, which follow each other; the new table is behind them.
  var first = 0
  private(set) var tableClusters = 0
  /// The ranges of clusters that get a block, as indices of the new table.
  private(set) var ranges: [Int] = []
  private var seen: Set<Int> = []

  init(geometry: Geometry) { self.geometry = geometry }

  /// Where the new structures end, in clusters.
  var end: Int { first + ranges.count + tableClusters }

  var tableOffset: HostOffset { HostOffset((first + ranges.count) << geometry.clusterBits) }

  /// Notes a cluster in use.
  mutating func add(_ cluster: Int) {
    let range = geometry.refcountPosition(of: ClusterIndex(cluster)).tableIndex
    if ranges.last != range, seen.insert(range).inserted { ranges.append(range) }
  }

  /// Finds the sizes of the new structures, which count themselves.
  mutating func place() throws(BlockError) {
    var known = -1
    while known != end {
      known = end
      tableClusters = ((ranges.max() ?? 0) + 1)
        .dividedRoundingUp(by: geometry.tableEntriesPerCluster)
      for cluster in first..<end { add(cluster) }
    }
    ranges.sort()
    let limit = FormatLimits.maximumRefcountTableBytes >> geometry.clusterBits
    guard tableClusters <= limit, end << geometry.clusterBits <= geometry.maximumFileSize else {
      throw BlockError(
        .noSpace, "the refcount table would be larger than the format allows at that width")
    }
  }

  /// The clusters that the block of `range` counts.
  func clusters(ofRange range: Int) -> Range<Int> {
    let first = geometry.firstCluster(ofRefcountBlock: range).value
    return first..<first + geometry.entriesPerRefcountBlock
  }

  /// The new table.
  func table(clusterBits: Int) -> [UInt64] {
    var table = [UInt64](
      repeating: 0, count: tableClusters * geometry.tableEntriesPerCluster)
    for (index, range) in ranges.enumerated() {
      table[range] = UInt64((first + index) << clusterBits)
    }
    return table
  }
}

extension Tables {
  /// The clusters of the refcount table and its blocks.
  var refcountStructures: [Int] {
    let first = refcountTableOffset.value >> geometry.clusterBits
    let table = first..<first + refcountTable.count / geometry.tableEntriesPerCluster
    let blocks = refcountTable.compactMap { value in
      RefcountTableEntry(rawValue: value).checkedBlock(geometry: geometry)?.value
    }
    return Array(table) + blocks.map { $0 >> geometry.clusterBits }
  }

  /// Goes over to the structures of `plan`, which the header on disk names.
  mutating func switchRefcounts(to plan: RefcountWidthPlan, _ table: [UInt64]) {
    geometry = plan.geometry
    refcountTable = table
    refcountTableOffset = plan.tableOffset
    refcounts = RefcountCache(
      clusterSize: geometry.clusterSize, budgetBytes: Qcow2Limits.refcountCacheBytes)
    highWater = max(highWater, plan.end)
    let tableStart = plan.first + plan.ranges.count
    metadataClusters.insert(plan.first..<tableStart, as: .refcountBlock)
    metadataClusters.insert(tableStart..<plan.end, as: .refcountTable)
  }
}
