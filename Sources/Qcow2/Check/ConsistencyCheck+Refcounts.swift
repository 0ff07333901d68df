internal import BlockLayer
internal import Primitives

/// The refcount structure, and its comparison with the references that were counted.
extension ConsistencyCheck {
  /// Reads the refcount table, counts it, and claims its blocks.
  ///
  /// The blocks are counted by `compareRefcounts`, when everything else is.
  mutating func readRefcountTable() async throws(CheckStop) {
    guard let range = header.refcountTableRange, !range.isEmpty else { return }
    let isCounted = !isOutside(range)
    let table = range.prefix(max(0, min(range.upper, fileLength) - range.lower))
    refcountTable.reserveCapacity(table.count / 8)
    var overlaps = OverlapNotes()
    var buffer = IOBuffer(byteCount: min(pieceByteCount, range.count))
    var position = table.lower
    while position < table.upper {
      let piece = piece(of: table, at: position)
      let loaded = try await loadAndClaim(
        piece, .refcountTable, isCounted: isCounted, &overlaps, into: &buffer)
      if case .bytes = loaded {
        let bytes = buffer.bytes.slice(ByteRange(0, piece.count))
        let missing = (position - table.lower) / 8 - refcountTable.count
        refcountTable.append(contentsOf: repeatElement(0, count: missing))
        refcountTable += decodeTable(bytes)
      }
      position += piece.count
    }
    for raw in refcountTable {
      guard case .at(let offset) = place(ofBlock: raw) else { continue }
      counts.mark(offset >> geometry.clusterBits, .owned(by: .refcountBlock))
    }
  }

  /// Where a refcount block is.
  enum BlockPlace {
    /// Nowhere in the file: what it would count is 0.
    case none
    case at(Int)
    /// The entry is damaged: not at a cluster's start.
    case misaligned
    /// The entry is damaged: beyond the largest file offset.
    case beyondAll
  }

  /// Where the block is that an entry of the refcount table names, reserved bits ignored.
  func place(ofBlock raw: UInt64) -> BlockPlace {
    let entry = RefcountTableEntry(rawValue: raw)
    guard let block = entry.block else { return entry.isNone ? .none : .beyondAll }
    guard geometry.isClusterAligned(block) else { return .misaligned }
    return block.value < fileLength ? .at(block.value) : .none
  }

  // MARK: - Blocks

  /// Counts the refcount blocks, then compares every refcount with the references.
  ///
  /// What a repair may change is changed. No order among those changes is needed: a refcount is set
  /// to the number of references that are on disk, whatever becomes of the others.
  mutating func compareRefcounts() async throws(CheckStop) {
    countBlocks()
    noteOverlaidTables()
    if needs.flush { try await flush() }
    // References may reach into the cluster behind the file's last.
    let end = max(fileClusters, counts.highest + 1)
    var comparison = RefcountComparison(end: end, pages: counts.pages)
    comparison.mayFree = mayFree
    var buffer = IOBuffer(byteCount: geometry.clusterSize)
    while let index = comparison.nextBlock(refcountTable, geometry) {
      let raw = index < refcountTable.count ? refcountTable[index] : 0
      comparison.isDoubtful = index < refcountTable.count && soundBlocks[index] == false && raw != 0
      if comparison.isDoubtful { try budget.addRepeated(geometry.clusterSize) }
      comparison.mayWrite = mayWrite(index)
      comparison.mayRaise = repair == .all
      switch place(ofBlock: raw) {
      case .none: compareWithNothing(index, &comparison)
      case .misaligned, .beyondAll:
        noteUnreadable(index, "its entry is damaged", &comparison)
      case .at(let offset):
        let range = ByteRange(offset: offset, count: geometry.clusterSize)
        switch try await load(range, .refcountBlock, into: &buffer) {
        case .bytes:
          compare(buffer.bytes, index, &comparison)
        case .zeros:
          compareWithNothing(index, &comparison)
          var bytes = buffer.mutableBytes
          bytes.fill(with: 0)
        case .failed: noteUnreadable(index, "it could not be read", &comparison)
        }
        try await writeChanges(&comparison, index, range, &buffer)
      }
    }
    if comparison.isUncounted { needs.rebuild = true }
    if let behind = comparison.behind, !isCutShort {
      log.add(
        .leakedBehindFile(count: behind.count, first: behind.first, last: behind.last),
        times: behind.count)
    }
    let endOffset = (comparison.highest + 1).multipliedClamped(by: geometry.clusterSize)
    log.update { $0.imageEndOffset = endOffset }
  }

  /// Counts a reference to each block, and notes which are sound.
  mutating func countBlocks() {
    soundBlocks = Array(repeating: false, count: refcountTable.count)
    needs.rebuild = defectsOfRefcountTable > 0
    for (index, raw) in refcountTable.enumerated() where raw != 0 {
      soundBlocks[index] = countBlock(index, raw)
    }
  }

  /// Notes which L2 tables stand where something else does too: nothing is repaired in them.
  private mutating func noteOverlaidTables() {
    guard repair != nil else { return }
    for position in references.tables.indices {
      let table = references.tables[position]
      if counts.entry(of: table.cluster).count != UInt64(table.total) {
        references.tables[position].isOverlaid = true
      }
    }
    guard let range = header.l1TableRange else { return }
    isL1Overlaid = geometry.clusters(touchedBy: range).contains {
      counts.entry(of: $0.value).count > 1
    }
  }

  /// Whether refcounts of a block may be changed.
  private mutating func mayWrite(_ index: Int) -> Bool {
    guard repair != nil, index < soundBlocks.count, soundBlocks[index],
      case .at(let offset) = place(ofBlock: refcountTable[index])
    else { return false }
    // Another entry, later in the table, may name it too.
    return !sharedBlocks.contains(offset >> geometry.clusterBits)
  }

  /// Writes what `comparison` changes of a block, whose bytes are in `buffer`.
  private mutating func writeChanges(
    _ comparison: inout RefcountComparison, _ index: Int, _ range: ByteRange,
    _ buffer: inout IOBuffer
  ) async throws(CheckStop) {
    let changes = comparison.takeChanges()
    if changes.isEmpty { return }
    let codec = RefcountBlock(order: geometry.refcountOrder)
    let first = geometry.firstCluster(ofRefcountBlock: index).value
    var bytes = buffer.mutableBytes
    for (clusters, refcount) in changes {
      for cluster in clusters { codec.store(refcount, at: cluster - first, in: &bytes) }
    }
    try await write(range, buffer)
  }

  /// Counts a reference to a block; false when it is not the only one or its entry is damaged, so
  /// that nobody knows what the block counts.
  private mutating func countBlock(_ index: Int, _ raw: UInt64) -> Bool {
    let entry = RefcountTableEntry(rawValue: raw)
    if entry.hasReservedBits {
      log.add(.refcountTableReservedBits(index: index))
      needs.rebuild = true
      return false
    }
    switch place(ofBlock: raw) {
    case .none, .beyondAll:
      log.add(.refcountBlockOutside(index: index))
      needs.rebuild = true
    case .misaligned:
      log.add(.refcountBlockMisaligned(index: index))
      needs.rebuild = true
    case .at(let offset):
      let cluster = offset >> geometry.clusterBits
      let others = counts.entry(of: cluster).count
      refer(to: cluster)
      let references = counts.entry(of: cluster).count
      if references != 1 {
        needs.rebuild = true
        sharedBlocks.insert(cluster)
        log.add(.refcountBlockShared(index: index, references: references))
      }
      return others == 0
    }
    return true
  }

  // MARK: - Comparison

  /// Compares the references in the range of a block that is not there: all refcounts are 0.
  private mutating func compareWithNothing(_ index: Int, _ comparison: inout RefcountComparison) {
    let range = comparison.range(ofBlock: index, geometry)
    while let page = comparison.takePage(before: range.upperBound) {
      for cluster in page { compare(cluster, refcount: 0, &comparison) }
    }
  }

  private mutating func noteUnreadable(
    _ index: Int, _ reason: String, _ comparison: inout RefcountComparison
  ) {
    let range = comparison.range(ofBlock: index, geometry)
    while let page = comparison.takePage(before: range.upperBound) {
      for cluster in page { counts.setRefcount(nil, of: cluster) }
    }
    let inside = range.clamped(to: 0..<comparison.end)
    guard !inside.isEmpty else { return }
    log.addError(
      "Can't get refcounts for clusters \(inside.lowerBound) to \(inside.upperBound - 1): "
        + "refcount block \(index): \(reason)", places: inside.count)
  }

  /// Compares the refcounts of a block with the references in its range.
  ///
  /// Goes from one cluster with a refcount or a reference to the next.
  private mutating func compare(
    _ block: RawSpan, _ index: Int, _ comparison: inout RefcountComparison
  ) {
    let codec = RefcountBlock(order: geometry.refcountOrder)
    let range = comparison.range(ofBlock: index, geometry)
    var position = 0
    while position < range.count {
      let counted = codec.firstNonzero(in: block, range: position..<range.count) ?? range.count
      let paged = comparison.nextPage.map { $0.lowerBound - range.lowerBound } ?? range.count
      if paged <= counted, let page = comparison.takePage(before: range.upperBound) {
        for cluster in page {  // a page lies in the range of one block
          let refcount = codec.value(at: cluster - range.lowerBound, in: block)
          compare(cluster, refcount: refcount, &comparison)
        }
        position = page.upperBound - range.lowerBound
      } else {
        // Up to the next page nothing is referred to.
        let end = min(paged, range.count)
        compareUnreferenced(block, codec, position..<end, range.lowerBound, &comparison)
        position = end
      }
    }
  }

  /// Reports what is counted in entries `entries` of a block, none of which is referred to.
  private mutating func compareUnreferenced(
    _ block: RawSpan, _ codec: RefcountBlock, _ entries: Range<Int>, _ first: Int,
    _ comparison: inout RefcountComparison
  ) {
    let inside = max(entries.lowerBound, min(entries.upperBound, comparison.end - first))
    var position = entries.lowerBound
    if comparison.mayFree, comparison.mayWrite {
      free(block, codec, entries, first, &comparison)
      return
    }
    while !log.isFull, let next = codec.firstNonzero(in: block, range: position..<inside) {
      let refcount = codec.value(at: next, in: block)
      log.add(.leaked(cluster: first + next, refcount: refcount, references: 0))
      comparison.highest = max(comparison.highest, first + next)
      position = next + 1
    }
    if let last = codec.lastNonzero(in: block, range: position..<inside) {
      log.addLeaks(codec.nonzeroCount(in: block, range: position..<inside))
      comparison.highest = max(comparison.highest, first + last)
    }
    let behind = inside..<entries.upperBound
    guard let start = codec.firstNonzero(in: block, range: behind),
      let last = codec.lastNonzero(in: block, range: behind)
    else { return }
    comparison.addBehind(
      first + start, first + last, count: codec.nonzeroCount(in: block, range: behind))
  }

  /// Compares one cluster, and puts its refcount in the place of its references.
  private mutating func compare(
    _ cluster: Int, refcount: UInt64, _ comparison: inout RefcountComparison
  ) {
    let references = counts.entry(of: cluster).count
    if refcount == 0, references == 0 { return }
    // With one reference a copied flag that is set tells the truth, and one that is clear costs a
    // copy: neither counts besides the leak. A change of snapshots that was cut off leaves such.
    // A repair trusts a flag only where nothing unknown may refer to the cluster too.
    let isOneLeaked = references == 1 && refcount > 1 && (repair == nil || isEverythingKnown)
    counts.setRefcount(isOneLeaked ? nil : refcount, of: cluster)
    guard cluster < comparison.end else {
      if references == 0, comparison.change(cluster, from: refcount, to: 0) {
        log.addRepaired(.leaked(cluster: cluster, refcount: refcount, references: 0))
      } else {
        comparison.addBehind(cluster, cluster, count: 1)
      }
      return
    }
    if refcount == references {
      comparison.highest = max(comparison.highest, cluster)
      return
    }
    let finding: CheckFinding =
      refcount > references
      ? .leaked(cluster: cluster, refcount: refcount, references: references)
      : .refcountTooLow(cluster: cluster, refcount: refcount, references: references)
    if comparison.change(cluster, from: refcount, to: references) {
      counts.setRefcount(references, of: cluster)
      log.addRepaired(finding)
      if references > 0 { comparison.highest = max(comparison.highest, cluster) }
    } else {
      log.add(finding)
      comparison.highest = max(comparison.highest, cluster)
      if refcount < references, !comparison.mayWrite { comparison.isUncounted = true }
    }
  }

  /// Frees what is counted in entries `entries` of a block, none of which is referred to.
  private mutating func free(
    _ block: RawSpan, _ codec: RefcountBlock, _ entries: Range<Int>, _ first: Int,
    _ comparison: inout RefcountComparison
  ) {
    var position = entries.lowerBound
    guard codec.firstNonzero(in: block, range: entries) != nil else { return }
    comparison.free(first + entries.lowerBound..<first + entries.upperBound)
    while let next = codec.firstNonzero(in: block, range: position..<entries.upperBound) {
      let refcount = codec.value(at: next, in: block)
      log.addRepaired(.leaked(cluster: first + next, refcount: refcount, references: 0))
      position = next + 1
    }
  }
}
