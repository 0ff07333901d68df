public import BlockLayer
internal import Execution
internal import Primitives
internal import Synchronization
internal import SystemPackage

/// Internal snapshots (qcow2 specification, "Snapshots").
///
/// A snapshot has an L1 table of its own, and refers to all that the table leads to. So its disk
/// stays as it was: what has two references is copied before it is written.
///
/// Order: what is to be referred to is counted first, durably; then one write of the header's first
/// sector makes a snapshot, removes it, or makes it the disk; then what lost a reference is counted
/// down. A crash leaves clusters that are counted too high at worst, and an error that comes late
/// no more than that.
extension Qcow2Driver: SnapshotStore {
  /// The snapshots, in the order of the image's table.
  ///
  /// Bytes of ids and names that are no text show as replacement characters. Throws `invalidImage`,
  /// with QEMU's texts, for a table that cannot be read.
  public func snapshots() async throws(BlockError) -> [DiskSnapshot] {
    try await storedSnapshots().entries.map(describe)
  }

  func describe(_ entry: SnapshotTableEntry) -> DiskSnapshot {
    var snapshot = DiskSnapshot(
      id: String(decoding: entry.id.bytes, as: UTF8.self),
      name: String(decoding: entry.name.bytes, as: UTF8.self),
      length: entry.diskByteCount.map { Int(clamping: $0).roundedDown(to: 512) } ?? length,
      seconds: Int(entry.seconds))
    snapshot.nanoseconds = Int(entry.nanoseconds)
    snapshot.vmStateByteCount = Int(clamping: entry.vmStateByteCount)
    snapshot.guestClockNanoseconds = entry.guestClockNanoseconds
    // All ones say that nothing was recorded.
    snapshot.instructionCount = entry.instructionCount.flatMap { $0 == .max ? nil : $0 }
    return snapshot
  }

  /// What an image opened at a snapshot has in the places of the disk's header fields and L1 table.
  static func view(
    of cluster: HeaderCluster, at reference: SnapshotReference, in node: BlockNode
  ) async throws(BlockError) -> (cluster: HeaderCluster, l1: [UInt64]) {
    let geometry = cluster.header.geometry
    let stored = try await readSnapshots(of: cluster.header, in: node)
    let entry = stored.entries[try stored.index(of: reference)]
    var view = cluster
    view.header.virtualSize = try entry.length(current: cluster.header.virtualSize, geometry)
    let l1 = try await entry.readL1(of: node, geometry, length: view.header.virtualSize)
    return (view, l1)
  }

  // MARK: - Steps of all changes

  func checkSnapshotsPossible() throws(BlockError) {
    guard dataFile == nil else {
      throw BlockError(
        .unsupported, "an image with an external data file cannot have internal snapshots")
    }
  }

  /// Brings the file to what memory says, durably, with nothing left to be freed, and forgets the
  /// L2 tables: they are read and changed in the file from now on.
  ///
  /// The caller holds `commitLock`, and no request is under way.
  func settle() async throws(BlockError) {
    try await makeDurable()
    guard !tables.withLock({ $0.isDirty }) else {
      throw BlockError(.inUse, "the image is being written to")
    }
    forgetTables()
  }

  func forgetTables() { tables.withLock { $0.l2.drop(from: 0, to: .max) } }

  /// Writes back until nothing is left to be written, and flushes.
  func makeDurable() async throws(BlockError) {
    try checkNotPoisoned()
    // One round writes what is dirty and frees what was removed, the next what the freeing changed;
    // more are needed only if tables move.
    for _ in 0..<6 where tables.withLock({ $0.isDirty }) { try await commit() }
    try await flushFile()
  }

  /// Places in the file to which no mapping may lead.
  func metadataRanges(
    _ stored: StoredSnapshots, withActiveL1: Bool = true, withoutL1Of deleted: Int? = nil
  ) -> [ByteRange] {
    let header = tables.withLock { $0.header }
    let regions = header.regions.filter { withActiveL1 || $0.region != .activeL1Table }
    var others = stored
    if let deleted { others.entries.remove(at: deleted) }
    return regions.map(\.range) + [stored.range] + others.l1Ranges(geometry)
  }

  /// Runs a change of snapshots under `structure` and `commitLock`.
  func changingStructure<T: Sendable>(
    claimsBitmaps: Bool, _ body: () async throws(BlockError) -> T
  ) async throws(BlockError) -> T {
    try await structure.withLock { () async throws(BlockError) -> T in
      if claimsBitmaps { try await prepareForChanges() } else { try await prepareHeader() }
      return try await commitLock.withLock { () async throws(BlockError) -> T in
        try await body()
      }
    }
  }

  /// Writes a snapshot table to new clusters.
  func writeSnapshotTable(
    _ entries: [SnapshotTableEntry]
  ) async throws(BlockError) -> StoredSnapshots {
    guard !entries.isEmpty else { return StoredSnapshots() }
    let bytes = StoredSnapshots.serialize(entries, virtualSize: length)
    guard bytes.count <= FormatLimits.maximumSnapshotTableBytes else {
      throw BlockError(.invalidArgument, "Snapshot table is too big", errno: .fileTooLarge)
    }
    return StoredSnapshots(
      entries: entries, offset: try await writeMetadata(bytes, as: .snapshotTable),
      byteCount: bytes.count)
  }

  /// Makes the header name another snapshot table, which is durable with all that it names.
  func switchSnapshots(to stored: StoredSnapshots) async throws(BlockError) {
    try await patchHeader { cluster in
      cluster.header.snapshotCount = stored.entries.count
      cluster.header.snapshotTableOffset = stored.offset
      return .snapshotTable
    }
    snapshotTable.withLock { $0 = stored }
  }

  /// Drops what the active L1 table names beyond the disk's end: the state of a machine that a
  /// snapshot brought there.
  ///
  /// Else it would show when the disk grows. The caller holds `commitLock`, and has settled.
  func dropTablesBeyondDisk() async throws(BlockError) {
    // Without snapshots, which such an image cannot have, there is no such state.
    guard dataFile == nil else { return }
    let needed = geometry.l1EntryCount(forSize: length)
    let l1 = tables.withLock { $0.l1 }
    guard l1.count > needed, l1[needed...].contains(where: { $0 != 0 }) else { return }
    var beyond = try await tree(below: Array(l1[needed...]))
    var disk = try await tree(below: Array(l1[..<needed]))
    try await checkNoMetadata(
      in: &beyond.counts, metadataRanges(try await storedSnapshots()))
    try await checkFall(by: &beyond.counts, keeping: &disk.counts)
    try await rewriteActiveL1 { index, old in index < needed ? old : 0 }
    try await flushFile()
    try await lowerRefcounts(by: &beyond.counts)
    try await makeDurable()
  }
}

extension Tables {
  /// Notes the clusters of the snapshot table and of the snapshots' L1 tables.
  ///
  /// Snapshots' L2 tables are not among them: they have refcounts, so that they are not taken, and
  /// reading them all would make the first write slow.
  mutating func collectMetadataClusters(of stored: StoredSnapshots) {
    var room = Qcow2Limits.inactiveTableClusters
    let tables = stored.l1Ranges(geometry).map { ($0, MetadataOwner.inactiveL1Table) }
    for (range, owner) in [(stored.range, MetadataOwner.snapshotTable)] + tables {
      for cluster in geometry.clusters(touchedBy: range).prefix(room) {
        metadataClusters.insert(cluster.value, as: owner)
        room -= 1
      }
    }
  }
}
