internal import BlockLayer
internal import Primitives

/// The snapshot table and the L1 tables that it names.
extension ConsistencyCheck {
  /// Counts the snapshot table, and each snapshot's L1 table.
  mutating func walkSnapshots() async throws(CheckStop) {
    guard header.snapshotCount > 0 else { return }
    if hasDataFile { log.add(.snapshotsWithDataFile(count: header.snapshotCount)) }
    let isTooLong = header.snapshotCount > FormatLimits.maximumSnapshots
    guard !isTooLong || repair == .all else {
      log.addError("the snapshot table is too large: \(header.snapshotCount) snapshots")
      return
    }
    guard geometry.isClusterAligned(header.snapshotTableOffset) else {
      log.addError("the snapshot table's offset is invalid")
      return
    }
    var reader = SnapshotTableReader(header.snapshotTableOffset, isLenient: repair == .all)
    var kept: [SnapshotTableEntry] = []
    for index in 0..<min(header.snapshotCount, FormatLimits.maximumSnapshots) {
      guard let entry = try await nextSnapshot(&reader, index) else {
        guard repair == .all, reader.isTooLarge else { return }
        break
      }
      try await walkSnapshot(entry, index)
      if repair == .all { kept.append(entry) }
    }
    if repair == .all, kept.count < header.snapshotCount {
      noteSnapshotTable(.snapshotsTooMany(count: header.snapshotCount - kept.count))
      needs.dropsSnapshots = true
    }
    if !needs.snapshotFindings.isEmpty { needs.snapshots = kept }
    let range = ByteRange(
      checkedOffset: header.snapshotTableOffset.value, count: reader.byteCount)
    if let range { try claimRange(range, .snapshotTable) }
  }

  /// The next entry of the table; nil when it cannot be read, which is noted.
  private mutating func nextSnapshot(
    _ reader: inout SnapshotTableReader, _ index: Int
  ) async throws(CheckStop) -> SnapshotTableEntry? {
    while true {
      do throws(Qcow2FormatError) {
        if let entry = try reader.next(index) { return entry }
      } catch {
        if repair == .all, reader.isTooLarge { return nil }
        log.addError("the snapshot table could not be read: \(error.message)")
        return nil
      }
      guard let piece = reader.wantedPiece else {
        log.addError("the snapshot table's offset is invalid")
        return nil
      }
      var buffer = IOBuffer(byteCount: piece.count)
      switch try await load(piece, .snapshotTable, into: &buffer) {
      case .bytes: reader.append(buffer.bytes)
      case .zeros: reader.append(IOBuffer(byteCount: piece.count, zeroed: true).bytes)
      case .failed: return nil
      }
    }
  }

  /// Notes what a new snapshot table would put right.
  private mutating func noteSnapshotTable(_ finding: CheckFinding) {
    log.add(finding)
    if repair == .all { needs.snapshotFindings.append(finding) }
  }

  private mutating func walkSnapshot(
    _ entry: SnapshotTableEntry, _ index: Int
  ) async throws(CheckStop) {
    if header.version == .v3, !entry.hasRequiredExtraData {
      noteSnapshotTable(.snapshotIncomplete(index: index))
    }
    if entry.extraByteCount > FormatLimits.maximumSnapshotExtraBytes {
      noteSnapshotTable(.snapshotExtraData(index: index, byteCount: entry.extraByteCount))
    }
    guard entry.l1EntryCount <= FormatLimits.maximumL1TableBytes / 8 else {
      log.add(
        .snapshotTableTooLarge(
          id: entry.id, name: entry.name, entryCount: entry.l1EntryCount))
      log.setIncomplete()
      return
    }
    guard geometry.isClusterAligned(entry.l1TableOffset), let range = entry.l1TableRange else {
      log.add(
        .snapshotTableMisaligned(
          id: entry.id, name: entry.name, offset: entry.l1TableOffset.value))
      log.setIncomplete()
      return
    }
    try await walkL1(range, isActive: false)
  }
}
