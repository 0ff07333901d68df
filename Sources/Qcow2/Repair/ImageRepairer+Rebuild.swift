internal import BlockLayer
internal import Primitives

/// New refcount structures, and clusters for new tables.
extension ImageRepairer {
  /// Counts all references; nil when some could not be followed.
  func countReferences() async throws(BlockError) -> ConsistencyCheck? {
    var walk = ConsistencyCheck(cluster, in: node, limits: limits)
    do throws(CheckStop) {
      return try await walk.countReferences() ? walk : nil
    } catch {
      switch error {
      case .cancelled: throw BlockError(.cancelled, "the repair was cancelled")
      case .writing(let error): throw error
      case .implausible: return nil
      }
    }
  }

  /// The number of whole clusters of a file that cannot grow; nil for one that can.
  private var end: Int? {
    node.driver.limits.growsOnWrite ? nil : node.length >> geometry.clusterBits
  }

  /// Writes a new refcount table and new blocks; says whether that could be done.
  mutating func rebuildRefcounts() async throws(BlockError) -> Bool {
    guard var walk = try await countReferences() else {
      tell(
        "The refcount structure needs to be rebuilt, which is not done: not every reference could "
          + "be followed")
      return false
    }
    try await rebuild(&walk.counts)
    return true
  }

  /// Writes a new refcount table and new blocks that say what is in `counts`.
  ///
  /// The old ones stay counted: they are freed when nothing names them any more.
  private mutating func rebuild(_ counts: inout ReferenceCounts) async throws(BlockError) {
    tell("Rebuilding refcount structure")
    let plan = try RefcountRebuild(&counts, geometry: geometry, end: end)
    var buffer = IOBuffer(byteCount: geometry.clusterSize)
    for block in plan.blocks {
      var bytes = buffer.mutableBytes
      plan.fill(&bytes, blockOf: block.tableIndex, &counts)
      let range = ByteRange(
        offset: block.cluster << geometry.clusterBits, count: geometry.clusterSize)
      try await node.write(range, from: bytes.bytes)
    }
    let table = encodeTable(plan.entries)
    let place = plan.table << geometry.clusterBits
    try await node.write(ByteRange(offset: place, count: table.count), from: table.span.bytes)
    try await patchHeader(.refcountTable) { header in
      header.refcountTableOffset = HostOffset(place)
      header.refcountTableClusters = plan.tableClusters
    }
  }

  /// Takes `count` clusters that nothing refers to, with their refcounts, durably; answers the
  /// first.
  ///
  /// `isAtEnd`: nothing is known to be free but what is behind the file.
  mutating func takeClusters(
    _ count: Int, isAtEnd: Bool
  ) async throws(BlockError) -> Int? {
    var walk = ConsistencyCheck(cluster, in: node, limits: limits, repairing: mode)
    let isKnown: Bool
    do throws(CheckStop) { isKnown = try await walk.countReferences() } catch { return nil }
    guard isAtEnd || isKnown else { return nil }
    let behind = max(walk.fileClusters, walk.counts.highest + 1)
    let first = walk.counts.firstFreeRun(of: count, from: isAtEnd ? behind : 1)
    guard first + count <= end ?? .max else { return nil }
    if try await raise(first..<first + count, walk) { return first }
    guard isKnown, !isAtEnd else { return nil }
    for cluster in first..<first + count {
      _ = walk.counts.add(1, to: cluster, maximum: geometry.maximumRefcount)
    }
    try await rebuild(&walk.counts)
    return first
  }

  /// Sets the refcounts of free clusters to 1, durably; says whether there are blocks that count
  /// them.
  private func raise(
    _ clusters: Range<Int>, _ walk: ConsistencyCheck
  ) async throws(BlockError) -> Bool {
    let first = geometry.refcountPosition(of: ClusterIndex(clusters.lowerBound)).tableIndex
    let last = geometry.refcountPosition(of: ClusterIndex(clusters.upperBound - 1)).tableIndex
    guard last < walk.refcountTable.count else { return false }
    var places: [Int] = []
    for index in first...last {
      guard walk.soundBlocks[index],
        case .at(let place) = walk.place(ofBlock: walk.refcountTable[index]),
        !walk.sharedBlocks.contains(place >> geometry.clusterBits)
      else { return false }
      places.append(place)
    }
    let codec = RefcountBlock(order: geometry.refcountOrder)
    var buffer = IOBuffer(byteCount: geometry.clusterSize)
    for (index, place) in zip(first...last, places) {
      let range = ByteRange(offset: place, count: geometry.clusterSize)
      var bytes = buffer.mutableBytes
      try await node.read(range, into: &bytes)
      let start = geometry.firstCluster(ofRefcountBlock: index).value
      let counted = start..<start + geometry.entriesPerRefcountBlock
      for cluster in clusters.clamped(to: counted) {
        codec.store(1, at: cluster - start, in: &bytes)
      }
      try await node.write(range, from: bytes.bytes)
    }
    try await node.flush()
    return true
  }
}
