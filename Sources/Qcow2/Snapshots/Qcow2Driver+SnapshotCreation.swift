public import BlockLayer
internal import Execution
internal import Primitives
internal import Synchronization
internal import SystemPackage

extension Qcow2Driver {
  /// Takes a snapshot of the disk as it is, durably.
  ///
  /// Names have at most 255 bytes, as QEMU's. Throws `invalidArgument` where a refcount is too
  /// narrow for one reference more, and for the 65,537th snapshot; `corrupt` where the mapping
  /// cannot be followed. The image is as before then. Time is linear in the tables of the disk.
  public func createSnapshot(
    named name: String, secondsSince1970: Int
  ) async throws(BlockError) -> DiskSnapshot {
    try checkSnapshotsPossible()
    guard name.utf8.count <= FormatLimits.maximumSnapshotNameBytes else {
      throw BlockError(
        .invalidArgument,
        "names of snapshots have at most \(FormatLimits.maximumSnapshotNameBytes) bytes")
    }
    // The data stays: bitmaps need not be claimed.
    return try await changingStructure(claimsBitmaps: false) { () async throws(BlockError) in
      let stored = try await storedSnapshots()
      guard stored.entries.count < FormatLimits.maximumSnapshots else {
        throw BlockError(
          .invalidArgument,
          "the image has \(stored.entries.count) snapshots, and cannot have more",
          errno: .fileTooLarge)
      }
      try await settle()
      try await dropTablesBeyondDisk()
      let entry = SnapshotTableEntry(
        l1TableOffset: .zero, l1EntryCount: tables.withLock { $0.l1.count },
        id: EmbeddedName(bytes: Array(stored.nextID.utf8)),
        name: EmbeddedName(bytes: Array(name.utf8)), seconds: UInt32(clamping: secondsSince1970),
        nanoseconds: 0, guestClockNanoseconds: 0, vmStateByteCount: 0,
        diskByteCount: UInt64(length), instructionCount: 0, unknownExtraData: [])
      return try await create(entry, stored)
    }
  }

  private func create(
    _ wanted: SnapshotTableEntry, _ old: StoredSnapshots
  ) async throws(BlockError) -> DiskSnapshot {
    var active = try await tree(below: tables.withLock { $0.l1 })
    try await checkNoMetadata(in: &active.counts, metadataRanges(old))
    try await checkRise(by: &active.counts)
    var entry = wanted
    var new = StoredSnapshots()
    var isRaised = false
    do throws(BlockError) {
      entry.l1TableOffset = try await writeL1(
        tables.withLock { $0.l1 }, as: .inactiveL1Table)
      new = try await writeSnapshotTable(old.entries + [entry])
      try await raiseRefcounts(by: &active.counts)
      isRaised = true
      #if !MUTANT_SNAPSHOT_BEFORE_REFCOUNTS
      try await makeDurable()
      #endif
      // Now that it is shared durably, nobody may write to it in place.
      try await clearCopiedFlags(in: active.tables)
      try await clearActiveL1Flags()
      try await flushFile()
    } catch {
      if isRaised { try? await takeBack(&active) }
      try? await releaseClusters(entry.l1TableOffset == .zero ? nil : entry.l1TableRange)
      try? await releaseClusters(new.range)
      throw error
    }
    try await switchSnapshots(to: new)
    // The snapshot is made, whatever fails now: a table that nothing names is a leak. That it is
    // given up is written with what changes next, which tells when that fails.
    try? await releaseClusters(old.range)
    return describe(entry)
  }

  /// Undoes the sharing of a snapshot that could not be made.
  ///
  /// Flags first: what has one reference may be written in place already. Where that fails, the
  /// refcounts stay too high.
  private func takeBack(_ active: inout TableTree) async throws(BlockError) {
    try checkNotPoisoned()
    try await setCopiedFlags(in: active, afterFallBy: &active.counts)
    try await flushFile()
    try await lowerRefcounts(by: &active.counts)
  }

  /// Writes an L1 table to new clusters, without copied flags; answers where, 0 for an empty one.
  func writeL1(
    _ l1: [UInt64], as owner: MetadataOwner
  ) async throws(BlockError) -> HostOffset {
    if l1.isEmpty { return .zero }
    return try await writeMetadata(
      encodeTable(l1.map { L1Entry(rawValue: $0).copied(false).rawValue }), as: owner)
  }
}
