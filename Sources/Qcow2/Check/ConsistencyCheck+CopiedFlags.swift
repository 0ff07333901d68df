internal import BlockLayer
internal import Primitives

/// The copied flags of the active tree: set exactly where the refcount is 1.
///
/// By now refcounts stand where references were counted. A flag that is set on a shared cluster
/// lets a write through to others' data; one that is clear costs a copy.
extension ConsistencyCheck {
  /// Checks the flags of the active L1 table and the L2 tables that it names.
  mutating func checkCopiedFlags() async throws(CheckStop) {
    try await checkL1Flags()
    var buffer = IOBuffer(byteCount: geometry.clusterSize)
    for table in references.tables where table.active > 0 && !table.isHollow {
      let range = ByteRange(
        offset: table.cluster << geometry.clusterBits, count: geometry.clusterSize)
      if case .bytes = try await load(range, .activeL2Table, into: &buffer) {
        checkFlags(of: buffer.bytes, times: table.active)
      }
    }
  }

  private mutating func checkL1Flags() async throws(CheckStop) {
    guard let range = header.l1TableRange, range.lower < fileLength else { return }
    let table = range.intersection(ByteRange(0, fileLength))
    var buffer = IOBuffer(byteCount: min(pieceByteCount, table.count))
    var position = table.lower
    while position < table.upper {
      let piece = piece(of: table, at: position)
      if case .bytes = try await load(piece, .activeL1Table, into: &buffer) {
        let bytes = buffer.bytes.slice(ByteRange(0, piece.count))
        for index in 0..<piece.count / 8 {
          let raw = bytes.bigEndian(UInt64.self, at: index * 8)
          if raw != 0 { checkFlag(L1Entry(rawValue: raw), (position - table.lower) / 8 + index) }
        }
      }
      position += piece.count
    }
  }

  private mutating func checkFlag(_ entry: L1Entry, _ index: Int) {
    guard let table = entry.l2Table, geometry.isClusterAligned(table),
      let refcount = counts.refcount(of: table.value >> geometry.clusterBits),
      (refcount == 1) != entry.isCopied
    else { return }
    log.add(.copiedFlagOfTable(l1Index: index, entry: entry.rawValue, refcount: refcount))
  }

  private mutating func checkFlags(of bytes: RawSpan, times count: Int) {
    for index in 0..<geometry.l2EntriesPerTable {
      let raw = bytes.bigEndian(UInt64.self, at: index << 3)
      let offset = Int(truncatingIfNeeded: raw & L2Entry.offsetMask)
      if offset == 0 || raw & L2Entry.compressedMask != 0 { continue }
      // What is in a data file has no refcount: it counts as 1.
      let refcount = hasDataFile ? 1 : counts.refcount(of: offset >> geometry.clusterBits)
      guard let refcount, (refcount == 1) != (raw & L2Entry.copiedMask != 0) else { continue }
      log.add(.copiedFlagOfData(entry: raw, refcount: refcount), times: count)
    }
  }
}
