public import BlockLayer
internal import Execution
internal import Primitives
internal import Synchronization

/// Going back to a snapshot, and removing one.
extension Qcow2Driver {
  /// Gives the disk the contents and the length of a snapshot, durably.
  ///
  /// The state of a machine that the snapshot has is not brought along. An id is looked for as
  /// `reference` says. Throws what is wrong with the snapshot's tables, and where a refcount is too
  /// narrow; the image is as before then. An error whose message says that the snapshot is applied
  /// means just that: space was lost.
  public func applySnapshot(_ reference: SnapshotReference) async throws(BlockError) {
    try checkSnapshotsPossible()
    try await changingStructure(claimsBitmaps: true) { () async throws(BlockError) in
      let stored = try await storedSnapshots()
      let entry = stored.entries[try stored.index(of: reference)]
      try await settle()
      let size = try entry.length(current: length, geometry)
      var l1 = try await entry.readL1(of: file.node, geometry, length: size)
      l1 = l1.map { L1Entry(rawValue: $0 & L1Entry.offsetMask).rawValue }
      l1 += Array(repeating: 0, count: geometry.l1EntryCount(forSize: size) - l1.count)
      try await makeActive(l1, size: size, stored)
    }
  }

  /// Puts another L1 table in the active one's place, and another size.
  private func makeActive(
    _ l1: [UInt64], size: Int, _ stored: StoredSnapshots
  ) async throws(BlockError) {
    var new = try await tree(below: l1)
    var old = try await tree(below: tables.withLock { $0.l1 })
    try await checkNoMetadata(in: &new.counts, metadataRanges(stored))
    if let range = tables.withLock({ $0.header.header.l1TableRange }) {
      old.counts.add(range, geometry)
    }
    try await checkNoMetadata(in: &old.counts, metadataRanges(stored, withActiveL1: false))
    // What both refer to keeps its refcount.
    var rises = new.counts.excess(over: &old.counts)
    var falls = old.counts.excess(over: &new.counts)
    try await checkRise(by: &rises)
    try await checkFall(by: &falls, keeping: &new.counts)
    let place = try await share(new.tables, l1, &rises)
    try await patchHeader { cluster in
      cluster.header.virtualSize = size
      cluster.header.l1TableOffset = place
      cluster.header.l1EntryCount = l1.count
      return .sizeAndL1Table
    }
    tables.withLock { $0.replaceL1(by: l1, at: place) }
    forgetTables()
    virtualSize.store(size, ordering: .releasing)
    try await givingUpSpace("The snapshot is applied") { () async throws(BlockError) in
      try await lowerRefcounts(by: &falls)
    }
  }

  /// Counts the references of a second owner of tables, and writes its L1 table; all of it is
  /// durable afterwards.
  private func share(
    _ inactive: L2References, _ l1: [UInt64], _ rises: inout ReferenceCounts
  ) async throws(BlockError) -> HostOffset {
    var place = HostOffset.zero
    var isRaised = false
    do throws(BlockError) {
      place = try await writeL1(l1, as: .activeL1Table)
      try await raiseRefcounts(by: &rises)
      isRaised = true
      try await makeDurable()
      // In a table that was not active flags mean nothing, and may be there.
      try await clearCopiedFlags(in: inactive)
      try await flushFile()
      return place
    } catch {
      if isRaised { try? await lowerRefcounts(by: &rises) }
      if place != .zero {
        try? await releaseClusters(ByteRange(offset: place.value, count: l1.count * 8))
      }
      throw error
    }
  }

  /// Removes a snapshot, durably; the disk stays as it is.
  ///
  /// Throws what is wrong with the snapshot's tables; the image is as before then. An error whose
  /// message says that the snapshot is deleted means just that: space was lost.
  public func deleteSnapshot(_ reference: SnapshotReference) async throws(BlockError) {
    try checkSnapshotsPossible()
    try await changingStructure(claimsBitmaps: false) { () async throws(BlockError) in
      let stored = try await storedSnapshots()
      let index = try stored.index(of: reference)
      try await settle()
      try await delete(index, stored)
    }
  }

  private func delete(_ index: Int, _ old: StoredSnapshots) async throws(BlockError) {
    let entry = old.entries[index]
    var gone = try await tree(below: try await entry.readL1(of: file.node, geometry))
    if let range = entry.l1TableRange { gone.counts.add(range, geometry) }
    var active = try await tree(below: tables.withLock { $0.l1 })
    try await checkNoMetadata(in: &gone.counts, metadataRanges(old, withoutL1Of: index))
    try await checkFall(by: &gone.counts, keeping: &active.counts)
    var rest = old.entries
    rest.remove(at: index)
    let new = try await writeSnapshotTable(rest)
    do throws(BlockError) {
      try await makeDurable()
    } catch {
      try? await releaseClusters(new.range)
      throw error
    }
    try await switchSnapshots(to: new)
    try await givingUpSpace("The snapshot is deleted") { () async throws(BlockError) in
      // What is the disk's alone again may be written in place, which is true before its refcount
      // says so.
      try await setCopiedFlags(in: active, afterFallBy: &gone.counts)
      try await flushFile()
      try await lowerRefcounts(by: &gone.counts)
      try await releaseClusters(old.range)
    }
  }

  /// Does what remains after a switch; an error says that the switch is made.
  private func givingUpSpace(
    _ what: String, _ body: () async throws(BlockError) -> Void
  ) async throws(BlockError) {
    do throws(BlockError) {
      try await body()
      try await makeDurable()
    } catch {
      throw BlockError(
        .io, "\(what), but space in the image could not be given up: \(error.message)",
        errno: error.errno, cause: error)
    }
  }
}

extension Tables {
  /// Puts another L1 table, which the header names already, in the present one's place.
  mutating func replaceL1(by new: [UInt64], at offset: HostOffset) {
    l1 = new
    l1Offset = offset
    dirtyL1 = []
    isL1Moved = false
    for entry in new {
      if let table = L1Entry(rawValue: entry).l2Table {
        metadataClusters.insert(table.value >> geometry.clusterBits, as: .activeL2Table)
      }
    }
  }
}
