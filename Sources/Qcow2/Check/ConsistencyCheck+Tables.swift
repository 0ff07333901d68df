internal import BlockLayer
internal import Primitives

/// Tables of 8-byte entries that stand in clusters which follow each other: L1 tables, bitmap
/// tables, the refcount table.
extension ConsistencyCheck {
  /// How much of a table is looked at together: clusters, and at least 64 KiB.
  var pieceByteCount: Int { max(geometry.clusterSize, 1 << 16) }

  /// The part of a table that begins at `position` and is looked at together.
  func piece(of table: ByteRange, at position: Int) -> ByteRange {
    ByteRange(position, table.upper).prefix(pieceByteCount)
  }

  /// Reads a piece of a table, counts its clusters and claims them.
  ///
  /// `isCounted` is false for tables that reach out of the file: what is in it is read, and none of
  /// it counted, as in QEMU.
  mutating func loadAndClaim(
    _ piece: ByteRange, _ owner: MetadataOwner, isCounted: Bool, _ overlaps: inout OverlapNotes,
    into buffer: inout IOBuffer
  ) async throws(CheckStop) -> Piece {
    let loaded = try await load(piece, owner, into: &buffer)
    let clusters = geometry.clusters(touchedBy: piece)
    if case .zeros = loaded { try budget.addHollow(clusters.count) }
    let count = isCounted ? 1 : 0
    var repeated = 0
    for cluster in clusters where claim(cluster.value, owner, references: count, &overlaps) {
      repeated += 1
    }
    try budget.addRepeated(repeated << geometry.clusterBits)
    return loaded
  }

  // MARK: - L1 tables

  /// Counts an L1 table and the L2 tables that it names.
  mutating func walkL1(_ range: ByteRange?, isActive: Bool) async throws(CheckStop) {
    guard let range, !range.isEmpty else { return }
    let owner: MetadataOwner = isActive ? .activeL1Table : .inactiveL1Table
    let isCounted = !isOutside(range)
    // What stands in the file is followed in any case.
    // An entry of which but one byte is there is one for every reader.
    let end = min(range.upper, fileLength.checkedRoundedUp(to: 8) ?? .max)
    let table = range.prefix(max(0, end - range.lower))
    var overlaps = OverlapNotes()
    var buffer = IOBuffer(byteCount: min(pieceByteCount, range.count))
    var position = table.lower
    while position < table.upper {
      let piece = piece(of: table, at: position)
      let loaded = try await loadAndClaim(
        piece, owner, isCounted: isCounted, &overlaps, into: &buffer)
      if case .bytes = loaded {
        let first = (position - table.lower) / 8
        noteL1Entries(
          buffer.bytes.slice(ByteRange(0, piece.count)), first: first, isActive: isActive)
      }
      position += piece.count
    }
    guard isCounted else { return }
    // The table of a new image may begin where its file ends.
    for cluster in geometry.clusters(touchedBy: ByteRange(table.upper, range.upper))
    where cluster.value >= fileClusters {
      claim(cluster.value, owner, references: 1, &overlaps)
    }
  }

  private mutating func noteL1Entries(_ bytes: RawSpan, first: Int, isActive: Bool) {
    for index in 0..<bytes.byteCount / 8 {
      let raw = bytes.bigEndian(UInt64.self, at: index * 8)
      if raw != 0 { noteL1Entry(L1Entry(rawValue: raw), first + index, isActive: isActive) }
    }
  }

  private mutating func noteL1Entry(_ entry: L1Entry, _ index: Int, isActive: Bool) {
    if entry.hasReservedBits { log.add(.l1ReservedBits(entry: entry.rawValue)) }
    guard let table = entry.l2Table else {
      // QEMU would read the header as an L2 table.
      if entry.isCopied {
        log.add(.l1CopiedWithoutTable(l1Index: index, entry: entry.rawValue))
      }
      return
    }
    let range = ByteRange(offset: table.value, count: geometry.clusterSize)
    let isInside = !isOutside(range)
    guard geometry.isClusterAligned(table) else {
      log.add(.tableMisaligned(offset: table.value))
      log.setIncomplete()
      if isInside {
        for cluster in geometry.clusters(touchedBy: range) { refer(to: cluster.value) }
      }
      return
    }
    guard isInside else {
      // Its refcount is wanted for the copied flag.
      counts.keepPlace(of: table.value >> geometry.clusterBits)
      return
    }
    references.add(table.value >> geometry.clusterBits, l1Index: index, isActive: isActive)
  }
}
