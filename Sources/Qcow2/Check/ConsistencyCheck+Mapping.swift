internal import BlockLayer
internal import Primitives

/// L2 tables and their entries.
extension ConsistencyCheck {
  /// Reads every L2 table once, and counts what its entries refer to.
  mutating func walkTables() async throws(CheckStop) {
    // All of them claim their clusters first, so that data which stands on any is found.
    for table in references.tables { try claimTable(table) }
    var buffer = IOBuffer(byteCount: geometry.clusterSize)
    for position in references.tables.indices {
      let table = references.tables[position]
      let range = ByteRange(
        offset: table.cluster << geometry.clusterBits, count: geometry.clusterSize)
      let owner: MetadataOwner = table.active > 0 ? .activeL2Table : .inactiveL2Table
      switch try await load(range, owner, into: &buffer) {
      case .bytes:
        let statistics = examine(buffer.bytes, of: table)
        log.update { $0.add(statistics, times: table.active) }
      case .zeros, .failed: references.tables[position].isHollow = true
      }
    }
  }

  private mutating func claimTable(_ table: L2References.Table) throws(CheckStop) {
    var overlaps = OverlapNotes()
    let isActive = table.active > 0
    let isRepeated = claim(
      table.cluster, isActive ? .activeL2Table : .inactiveL2Table, references: table.total,
      &overlaps)
    if isRepeated { try budget.addRepeated(geometry.clusterSize) }
    if table.active > 1 {
      log.add(
        .tableMappedTwice(
          offset: table.cluster << geometry.clusterBits, count: table.active))
    }
  }

  /// Counts what the entries of a table refer to.
  private mutating func examine(
    _ bytes: RawSpan, of table: L2References.Table
  ) -> TableStatistics {
    var statistics = TableStatistics()
    for index in 0..<geometry.l2EntriesPerTable {
      let raw = bytes.bigEndian(UInt64.self, at: index << 3)
      if raw == 0 { continue }
      let entry = L2Entry(rawValue: raw)
      if entry.isCompressed {
        countCompressed(entry, index, table, &statistics)
      } else {
        countStandard(entry, index, table, &statistics)
      }
    }
    return statistics
  }

  // MARK: - Standard entries

  private mutating func countStandard(
    _ entry: L2Entry, _ index: Int, _ table: L2References.Table,
    _ statistics: inout TableStatistics
  ) {
    let raw = entry.rawValue
    if raw & L2Entry.reservedMask != 0 {
      log.add(.l2ReservedBits(entry: raw), times: table.total)
    }
    let isZero = raw & L2Entry.zeroMask != 0
    if isZero, header.version == .v2 {
      log.add(.zeroFlagInVersion2(entry: raw), times: table.total)
    }
    let offset = Int(truncatingIfNeeded: raw & L2Entry.offsetMask)
    // With a data file, offset 0 is a place like any other, if the copied flag is set.
    guard offset != 0 || (hasDataFile && entry.isCopied && !isZero) else {
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
