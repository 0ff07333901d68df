internal import BlockLayer
internal import Primitives

/// L2 tables and their entries.
extension ConsistencyCheck {
  /// Reads every L2 table once, and counts what its entries refer to.
  mutating func walkTables() async throws(CheckStop) {
    // All of them claim their clusters first, so that data which stands on any is found.
    for position in references.tables.indices { try claimTable(position) }
    var buffer = IOBuffer(byteCount: geometry.clusterSize)
    for position in references.tables.indices {
      let table = references.tables[position]
      let range = ByteRange(
        offset: table.cluster << geometry.clusterBits, count: geometry.clusterSize)
      let owner: MetadataOwner = table.active > 0 ? .activeL2Table : .inactiveL2Table
      switch try await load(range, owner, into: &buffer) {
      case .bytes:
        var hollowed: [Int] = []
        let statistics = examine(buffer.bytes, of: table, &hollowed)
        log.update { $0.add(statistics, times: table.active) }
        if !hollowed.isEmpty { try await writeHollowed(hollowed, range, &buffer) }
      case .zeros, .failed: references.tables[position].isHollow = true
      }
    }
  }

  private mutating func claimTable(_ position: Int) throws(CheckStop) {
    let table = references.tables[position]
    var overlaps = OverlapNotes()
    let isActive = table.active > 0
    let isRepeated = claim(
      table.cluster, isActive ? .activeL2Table : .inactiveL2Table, references: table.total,
      &overlaps)
    if isRepeated {
      references.tables[position].isOverlaid = true
      try budget.addRepeated(geometry.clusterSize)
    }
    if table.active > 1 {
      log.add(
        .tableMappedTwice(
          offset: table.cluster << geometry.clusterBits, count: table.active))
    }
  }

  /// Counts what the entries of a table refer to.
  ///
  /// Those whose reserved cluster is no cluster, and is to be given up, are put into `hollowed`.
  private mutating func examine(
    _ bytes: RawSpan, of table: L2References.Table, _ hollowed: inout [Int]
  ) -> TableStatistics {
    var statistics = TableStatistics()
    let stride = geometry.l2EntryByteCount
    for index in 0..<geometry.l2EntriesPerTable {
      let raw = bytes.bigEndian(UInt64.self, at: index * stride)
      let bitmap =
        geometry.hasExtendedL2 ? bytes.bigEndian(UInt64.self, at: index * stride + 8) : 0
      if raw == 0, bitmap == 0 { continue }
      let entry = ExtendedL2Entry(entry: L2Entry(rawValue: raw), bitmap: bitmap)
      let isCompressed = entry.entry.isCompressed
      let isHollowed = !isCompressed && isToBeHollowed(entry, table)
      if !isCompressed, !isHollowed, raw & L2Entry.reservedMask != 0 {
        log.add(.l2ReservedBits(entry: raw), times: table.total)
      }
      if bitmap != 0 { checkSubclusters(entry, index, table) }
      if isCompressed {
        countCompressed(entry.entry, index, table, &statistics)
      } else if isHollowed {
        log.addRepaired(.clusterMisaligned(offset: entry.hostOffset, isZero: true))
        hollowed.append(index)
      } else {
        countStandard(entry, index, table, &statistics)
      }
    }
    return statistics
  }

  private mutating func checkSubclusters(
    _ entry: ExtendedL2Entry, _ index: Int, _ table: L2References.Table
  ) {
    switch entry.defect {
    case nil: break
    case .bitmapOfCompressed:
      log.add(
        .compressedWithSubclusters(l2Index: index, entry: entry.entry.rawValue),
        times: table.total)
    case .dataAndZeros:
      log.add(.subclustersContradict(offset: entry.hostOffset), times: table.total)
    case .dataWithoutCluster:
      // In a data file, offset 0 is a place like any other.
      if hasDataFile, entry.entry.isCopied { break }
      log.add(.subclustersWithoutCluster, times: table.total)
    }
  }

  // MARK: - Repairs

  /// Whether a repair gives up the cluster that an entry reserves: nothing is read from it, and its
  /// offset is no cluster's.
  private mutating func isToBeHollowed(
    _ entry: ExtendedL2Entry, _ table: L2References.Table
  ) -> Bool {
    guard repair == .all, !entry.hostOffset.isAligned(to: geometry.clusterSize) else {
      return false
    }
    return holdsNoData(entry) && isTablesOwn(table)
  }

  private func holdsNoData(_ entry: ExtendedL2Entry) -> Bool {
    guard geometry.hasExtendedL2 else {
      return entry.entry.rawValue & L2Entry.zeroMask != 0 && header.version == .v3
    }
    return entry.bitmap & 0xffff_ffff == 0
  }

  /// Whether nothing but L1 entries is known to refer to the cluster of a table.
  private mutating func isTablesOwn(_ table: L2References.Table) -> Bool {
    !table.isOverlaid && counts.entry(of: table.cluster).count == UInt64(table.total)
  }

  /// Takes the offsets out of entries; what a subcluster reads as stays.
  private mutating func writeHollowed(
    _ indices: [Int], _ range: ByteRange, _ buffer: inout IOBuffer
  ) async throws(CheckStop) {
    var bytes = buffer.mutableBytes
    for index in indices {
      let plain: UInt64 = geometry.hasExtendedL2 ? 0 : L2Entry.zeroPlain.rawValue
      bytes.storeBigEndian(plain, at: index * geometry.l2EntryByteCount)
    }
    needs.flush = true
    try await write(range, buffer)
  }

  // MARK: - Standard entries

  private mutating func countStandard(
    _ extended: ExtendedL2Entry, _ index: Int, _ table: L2References.Table,
    _ statistics: inout TableStatistics
  ) {
    let entry = extended.entry
    let raw = entry.rawValue
    // With subclusters the flag has no meaning: QEMU does not look at it.
    let hasZeroFlag = raw & L2Entry.zeroMask != 0 && !geometry.hasExtendedL2
    let isZero = hasZeroFlag || (geometry.hasExtendedL2 && holdsNoData(extended))
    if hasZeroFlag, header.version == .v2 {
      log.add(.zeroFlagInVersion2(entry: raw), times: table.total)
    }
    let offset = Int(truncatingIfNeeded: raw & L2Entry.offsetMask)
    // With a data file, offset 0 is a place like any other, if the copied flag is set.
    guard offset != 0 || (hasDataFile && entry.isCopied && !hasZeroFlag) else {
      if entry.isCopied, !hasDataFile {
        log.add(.copiedWithoutCluster(entry: raw), times: table.total)
      }
      return
    }
    statistics.add(host: offset, clusterSize: geometry.clusterSize)
    let isAligned = offset.isAligned(to: geometry.clusterSize)
    if !isAligned {
      log.add(.clusterMisaligned(offset: offset, isZero: isZero), times: table.total)
    }
    if hasDataFile {
      checkPlaceInDataFile(offset, index, table)
    } else if offset >= fileLength {
      noteOutside(ByteRange(offset: offset, count: geometry.clusterSize), table)
    } else if isAligned {
      countData(offset, index, table)
    } else {
      let range = ByteRange(offset: offset, count: geometry.clusterSize)
      for cluster in geometry.clusters(touchedBy: range) {
        refer(to: cluster.value, table.total)
      }
    }
  }

  private mutating func countData(_ offset: Int, _ index: Int, _ table: L2References.Table) {
    let cluster = offset >> geometry.clusterBits
    let isActive = table.active > 0
    let before = refer(to: cluster, table.total, marks: isActive ? .mapped : .none)
    if before.isFree { return }
    if let owner = before.owner {
      log.add(.dataOnMetadata(offset: offset, owner, guest: guestOffset(index, table)))
    }
    if isActive, before.isMapped {
      log.add(.mappedTwice(offset: offset, guest: guestOffset(index, table)))
    }
  }

  /// Notes a region outside of the file; its refcount is wanted for the copied flag.
  private mutating func noteOutside(_ range: ByteRange, _ table: L2References.Table) {
    _ = isOutside(range, times: table.total)
    counts.keepPlace(of: range.lower >> geometry.clusterBits)
  }

  private mutating func checkPlaceInDataFile(
    _ offset: Int, _ index: Int, _ table: L2References.Table
  ) {
    guard let guest = guestOffset(index, table), guest != offset else { return }
    log.add(.dataFileMismatch(offset: offset, guest: guest), times: table.total)
  }

  private func guestOffset(_ index: Int, _ table: L2References.Table) -> Int? {
    geometry.guestOffset(l1Index: table.l1Index, l2Index: index)?.value
  }

  // MARK: - Compressed entries

  private mutating func countCompressed(
    _ entry: L2Entry, _ index: Int, _ table: L2References.Table,
    _ statistics: inout TableStatistics
  ) {
    guard case .compressed(let descriptor) = entry.kind(clusterBits: geometry.clusterBits) else {
      return
    }
    if entry.isCopied {
      log.add(
        .copiedCompressed(offset: descriptor.hostOffset.value), times: table.total)
    }
    if hasDataFile {
      log.add(
        .compressedWithDataFile(l2Index: index, entry: entry.rawValue), times: table.total)
      return
    }
    statistics.allocated += 1
    statistics.compressed += 1
    statistics.fragmented += 1
    guard !isOutside(descriptor.readableRange, times: table.total) else { return }
    var isReported = false
    for cluster in descriptor.touchedClusters {
      let before = refer(to: cluster.value, table.total)
      guard let owner = before.owner, !isReported else { continue }
      isReported = true
      log.add(
        .dataOnMetadata(
          offset: descriptor.hostOffset.value, owner, guest: guestOffset(index, table)))
    }
  }
}

/// What the entries of one L2 table add to the statistics of the active tree.
struct TableStatistics {
  var allocated = 0
  var compressed = 0
  var fragmented = 0
  /// Where the next cluster would be if it followed the last; 0 before the first.
  private var expected = 0

  /// Adds a cluster that stands at `host`.
  mutating func add(host: Int, clusterSize: Int) {
    allocated += 1
    if expected != 0, host != expected { fragmented += 1 }
    expected = host + clusterSize
  }
}

extension ImageCheck {
  /// Adds the statistics of a table that `count` entries of the active L1 table name.
  fileprivate mutating func add(_ statistics: TableStatistics, times count: Int) {
    allocatedClusters = allocatedClusters.addingClamped(
      statistics.allocated.multipliedClamped(by: count))
    compressedClusters = compressedClusters.addingClamped(
      statistics.compressed.multipliedClamped(by: count))
    fragmentedClusters = fragmentedClusters.addingClamped(
      statistics.fragmented.multipliedClamped(by: count))
  }
}
