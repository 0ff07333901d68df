internal import BlockLayer
internal import Primitives

/// What a step on refcounts needs before it can go on.
enum RefcountStep<Value: Sendable>: Sendable {
  case done(Value)
  /// The block at this index of the refcount table must be loaded first.
  case missing(tableIndex: Int)
}

/// Clusters of the file that follow each other.
struct ClusterRun: Sendable {
  let first: Int
  let count: Int
  /// Whether none of them was ever written, so that the file reads as zeros there.
  var isPristine = false
}

/// Refcounts in memory: reading them, changing them, and finding clusters that are free.
extension Tables {
  var codec: RefcountBlock { RefcountBlock(order: geometry.refcountOrder) }

  /// The offset of the block at `tableIndex`; 0 for none.
  ///
  /// Throws when the entry is damaged.
  func blockOffset(_ tableIndex: Int) throws(BlockError) -> Int {
    guard tableIndex < refcountTable.count else { return 0 }
    let entry = RefcountTableEntry(rawValue: refcountTable[tableIndex])
    if entry.isNone { return 0 }
    guard let block = entry.checkedBlock(geometry: geometry) else {
      throw .corruption(
        "Refblock offset 0x\(String(entry.rawValue, radix: 16)) unaligned "
          + "(reftable index: 0x\(String(tableIndex, radix: 16)))")
    }
    return block.value
  }

  /// The refcount of `cluster`.
  func refcount(_ cluster: Int) throws(BlockError) -> RefcountStep<UInt64> {
    let (tableIndex, index) = geometry.refcountPosition(of: ClusterIndex(cluster))
    guard try blockOffset(tableIndex) != 0 else { return .done(0) }
    guard let block = refcounts.block(tableIndex) else { return .missing(tableIndex: tableIndex) }
    return .done(codec.value(at: index, in: block.bytes.span.bytes))
  }

  /// The largest refcount that the image's width can hold.
  var maximumRefcount: UInt64 { codec.maximum }

  /// Adds `delta` to the refcounts of `count` clusters whose blocks must all be in memory.
  mutating func change(_ cluster: Int, _ count: Int, by delta: Int) throws(BlockError)
    -> RefcountStep<Void>
  {
    for index in cluster..<cluster + count {
      let (tableIndex, _) = geometry.refcountPosition(of: ClusterIndex(index))
      guard try blockOffset(tableIndex) != 0 else {
        throw .corruption("cluster \(index) has no refcount block")
      }
      guard refcounts.block(tableIndex) != nil else { return .missing(tableIndex: tableIndex) }
      guard case .done(let value) = try refcount(index) else { continue }
      guard delta > 0 ? value < codec.maximum : value > 0 else {
        throw .corruption("refcount \(value) of cluster \(index) cannot change by \(delta)")
      }
    }
    for index in cluster..<cluster + count {
      let (tableIndex, entry) = geometry.refcountPosition(of: ClusterIndex(index))
      guard let block = refcounts.block(tableIndex) else { continue }
      let value = codec.value(at: entry, in: block.bytes.span.bytes)
      store(delta > 0 ? value + 1 : value - 1, at: entry, of: block)
      if delta < 0, value == 1 {
        firstFree = min(firstFree, index)
        metadataClusters.remove(index)
        forgetStreams(at: index)
        observer?(.freed(index), self)
      }
    }
    return .done(())
  }

  mutating func store(
    _ value: UInt64, at entry: Int, of block: CachedRefcountBlock
  ) {
    var span = block.bytes.mutableSpan
    var bytes = span.mutableBytes
    codec.store(value, at: entry, in: &bytes)
    refcounts.markDirty(block)
  }

  // MARK: - Allocation

  /// Takes free clusters, refcount 1: as many as follow each other, at least `minimum` and at most
  /// `count`.
  ///
  /// `position`, 0 at first, keeps how far the search came when a block was missing: more blocks
  /// may have to be passed than the cache holds.
  ///
  /// Answers the first and the number.
  mutating func allocate(
    _ count: Int, minimum: Int, from position: inout Int
  ) throws(BlockError) -> RefcountStep<ClusterRun> {
    position = max(position, firstFree, 1)  // never cluster 0: the header
    while true {
      switch try freeRun(from: &position, count, minimum) {
      case .missing(let tableIndex): return .missing(tableIndex: tableIndex)
      case .done(let run):
        guard run.count >= minimum else {
          position = run.first + run.count
          continue
        }
        return .done(try take(run))
      }
    }
  }

  /// Takes at least one free cluster, likewise; a search that is begun again goes on, since what it
  /// passed moved `firstFree`.
  mutating func allocate(_ count: Int) throws(BlockError) -> RefcountStep<ClusterRun> {
    var position = 0
    return try allocate(count, minimum: 1, from: &position)
  }

  /// Takes `cluster` if it is free and its refcount has a block; says whether it did.
  mutating func takeIfFree(_ cluster: Int) throws(BlockError) -> RefcountStep<Bool> {
    let (tableIndex, _) = geometry.refcountPosition(of: ClusterIndex(cluster))
    guard try blockOffset(tableIndex) != 0 else { return .done(false) }
    switch try refcount(cluster) {
    case .missing(let tableIndex): return .missing(tableIndex: tableIndex)
    case .done(let count):
      if count == 0 { _ = try take(ClusterRun(first: cluster, count: 1)) }
      return .done(count == 0)
    }
  }

  /// Notes that `clusters` are not free, if none before them is.
  private mutating func passedOver(_ clusters: Range<Int>) {
    if clusters.lowerBound <= max(firstFree, 1) { firstFree = max(firstFree, clusters.upperBound) }
  }

  /// The first run of free clusters from `start` on, at most `count` long.
  ///
  /// It may cross from one refcount block into the next. Blocks that do not exist yet are made, so
  /// that `minimum` clusters follow them; ranges without blocks that have no room for both are
  /// passed over.
  private mutating func freeRun(
    from position: inout Int, _ count: Int, _ minimum: Int
  ) throws(BlockError) -> RefcountStep<ClusterRun> {
    var first = position
    var length = 0
    var cluster = position
    while length < count {
      let (tableIndex, index) = geometry.refcountPosition(of: ClusterIndex(cluster))
      if try blockOffset(tableIndex) == 0 {
        if length > 0 { break }  // a run is not extended into a block that is still to be made
        let area = try refcountArea(for: tableIndex, run: minimum)
        if let present = firstPresentBlock(in: area) {
          cluster = geometry.firstCluster(ofRefcountBlock: present).value
        } else {
          try add(area)
        }
        continue
      }
      guard let block = refcounts.block(tableIndex) else {
        if length > 0 { break }
        position = cluster
        return .missing(tableIndex: tableIndex)
      }
      let end = geometry.entriesPerRefcountBlock
      if length == 0 {
        guard let zero = codec.firstZero(in: block.bytes.span.bytes, range: index..<end) else {
          passedOver(cluster..<cluster + end - index)
          cluster += end - index
          continue
        }
        first = cluster + zero - index
        passedOver(cluster..<first)
        let limit = min(end, zero + count)
        length = codec.zeroRunEnd(in: block.bytes.span.bytes, range: zero..<limit) - zero
        if zero + length < end { break }
      } else {
        let limit = min(end, count - length)
        let more = codec.zeroRunEnd(in: block.bytes.span.bytes, range: 0..<limit)
        length += more
        if more < end { break }
      }
      cluster = first + length
    }
    return .done(ClusterRun(first: first, count: length))
  }

  private mutating func take(_ run: ClusterRun) throws(BlockError) -> ClusterRun {
    let end = run.first + run.count
    guard end << geometry.clusterBits <= FormatLimits.maximumHostOffset else {
      throw BlockError(.noSpace, "the image file would grow beyond the format's largest offset")
    }
    try checkHoldsNoMetadata(run.first..<end)
    observer?(.taking(run.first..<end), self)
    _ = try change(run.first, run.count, by: 1)
    if run.first <= firstFree { firstFree = end }
    let isPristine = run.first >= highWater
    highWater = max(highWater, end)
    return ClusterRun(first: run.first, count: run.count, isPristine: isPristine)
  }
}
