internal import BlockLayer
internal import Primitives

/// The copied flags of the active tree: set exactly where the refcount is 1.
///
/// By now refcounts stand where references were counted. A flag that is set on a shared cluster
/// lets a write through to others' data; one that is clear costs a copy.
extension ConsistencyCheck {
  /// Checks the flags of the active L1 table and the L2 tables that it names.
  ///
  /// A repair clears those that are wrongly set, and sets those that are wrongly clear, unless
  /// something unknown may refer to the cluster too.
  mutating func checkCopiedFlags() async throws(CheckStop) {
    // Refcounts are not known yet: another walk will come.
    if repair == .all, needs.rebuild { return }
    let hasOthers = log.result.corruptions + log.result.leaks + log.result.checkErrors > 0
    mayChangeFlags = repair == .all || (repair == .leaks && !hasOthers)
    try await checkL1Flags()
    var buffer = IOBuffer(byteCount: geometry.clusterSize)
    for table in references.tables where table.active > 0 && !table.isHollow {
      let range = ByteRange(
        offset: table.cluster << geometry.clusterBits, count: geometry.clusterSize)
      guard case .bytes = try await load(range, .activeL2Table, into: &buffer) else { continue }
      let changes = checkFlags(
        of: buffer.bytes, times: table.active, mayChange: mayChangeFlags && !table.isOverlaid)
      if !changes.isEmpty { try await apply(changes, range, &buffer) }
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
        let changes = checkL1Flags(
          of: buffer.bytes.slice(ByteRange(0, piece.count)), first: (position - table.lower) / 8)
        if !changes.isEmpty { try await apply(changes, piece, &buffer) }
      }
      position += piece.count
    }
  }

  private mutating func checkL1Flags(of bytes: RawSpan, first: Int) -> [FlagChange] {
    var changes: [FlagChange] = []
    for index in 0..<bytes.byteCount / 8 {
      let raw = bytes.bigEndian(UInt64.self, at: index * 8)
      if raw != 0, checkFlag(L1Entry(rawValue: raw), first + index) {
        changes.append(FlagChange(position: index * 8, entry: raw ^ L1Entry.copiedMask))
      }
    }
    return changes
  }

  /// Checks the flag of an L1 entry; says whether it is to be changed.
  private mutating func checkFlag(_ entry: L1Entry, _ index: Int) -> Bool {
    let mayChange = mayChangeFlags && !isL1Overlaid
    guard let table = entry.l2Table, geometry.isClusterAligned(table),
      let refcount = counts.refcount(of: table.value >> geometry.clusterBits),
      (refcount == 1) != entry.isCopied
    else { return false }
    return note(
      .copiedFlagOfTable(l1Index: index, entry: entry.rawValue, refcount: refcount), times: 1,
      isSet: entry.isCopied, mayChange: mayChange)
  }

  private mutating func checkFlags(
    of bytes: RawSpan, times count: Int, mayChange: Bool
  ) -> [FlagChange] {
    var changes: [FlagChange] = []
    let stride = geometry.l2EntryByteCount
    for index in 0..<geometry.l2EntriesPerTable {
      let raw = bytes.bigEndian(UInt64.self, at: index * stride)
      let offset = Int(truncatingIfNeeded: raw & L2Entry.offsetMask)
      let isSet = raw & L2Entry.copiedMask != 0
      if offset == 0 || raw & L2Entry.compressedMask != 0 { continue }
      // What is in a data file has no refcount: it counts as 1.
      let refcount = hasDataFile ? 1 : counts.refcount(of: offset >> geometry.clusterBits)
      guard let refcount, (refcount == 1) != isSet else { continue }
      let finding = CheckFinding.copiedFlagOfData(entry: raw, refcount: refcount)
      if note(finding, times: count, isSet: isSet, mayChange: mayChange) {
        changes.append(FlagChange(position: index * stride, entry: raw ^ L2Entry.copiedMask))
      }
    }
    return changes
  }

  /// Notes a flag that contradicts the refcount; says whether it is to be changed.
  private mutating func note(
    _ finding: CheckFinding, times count: Int, isSet: Bool, mayChange: Bool
  ) -> Bool {
    // One that is clear costs a copy. One that is set must be right.
    guard mayChange, isSet || isEverythingKnown else {
      log.add(finding, times: count)
      return false
    }
    log.addRepaired(finding, times: count)
    return true
  }

  private func apply(
    _ changes: [FlagChange], _ range: ByteRange, _ buffer: inout IOBuffer
  ) async throws(CheckStop) {
    var bytes = buffer.mutableBytes
    for change in changes { bytes.storeBigEndian(change.entry, at: change.position) }
    try await write(range, buffer)
  }
}

/// A mapping entry that is to be written with its flag changed.
private struct FlagChange {
  /// Where it is in the piece that was read.
  let position: Int
  let entry: UInt64
}
