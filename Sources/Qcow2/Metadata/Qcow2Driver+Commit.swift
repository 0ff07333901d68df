public import BlockLayer
internal import Execution
internal import Primitives
internal import Synchronization

/// Writing metadata back, in the order that leaves nothing but leaks behind a crash ("Ordering"
/// in docs/Invariants.md):
///
///     data, refcount blocks ─flush→ refcount table ─flush→ L2 tables ─flush→ L1 ─flush→ frees
///
/// Each flush is made only if something on both sides of it is there to be ordered.
extension Qcow2Driver {
  /// Hands cached metadata to the file, in order.
  ///
  /// What was written when it began is in the file afterwards; making it durable is one more flush.
  public func writeBack() async throws(BlockError) {
    guard tables.withLock({ $0.isDirty }) else { return }
    try await commitLock.withLock { () async throws(BlockError) in try await commit() }
  }

  /// Writes back until nothing is left to be written.
  ///
  /// With no requests under way one round writes what is dirty and frees what was removed, the next
  /// writes the refcounts that fell. More are needed only if tables move.
  func writeAllBack() async throws(BlockError) {
    for _ in 0..<4 where tables.withLock({ $0.isDirty }) { try await writeBack() }
  }

  /// The write-back itself.
  ///
  /// The caller holds `commitLock`. What hinders the freeing of clusters costs space at most: it
  /// stops nothing here, and closing tells it.
  func commit() async throws(BlockError) {
    try checkNotPoisoned()
    tables.withLock { $0.retryHindered() }
    #if MUTANT_FREED_BEFORE_UNLINKED
    tables.withLock { $0.retireAtOnce() }
    #endif
    await releaseRetired()
    let plan: CommitPlan?
    do {
      plan = try tables.withLock { tables throws(BlockError) in try tables.takePlan(epochs) }
    } catch {
      await noteCorruptionLocked(error)
      throw error
    }
    if let plan {
      do throws(BlockError) {
        try await perform(plan)
        #if !MUTANT_REUSED_BEFORE_UNLINKED
        if !plan.removed.isEmpty { try await flushFile() }
        #endif
      } catch {
        tables.withLock { $0.putBack(plan) }
        throw error
      }
      tables.withLock { $0.didCommit(plan) }
    }
    await releaseRetired()
  }

  /// Writes back when so much is dirty that the cache could not hold more.
  func writeBackIfLarge() async throws(BlockError) {
    let isLarge = tables.withLock { tables in
      tables.l2.dirty.count > min(Qcow2Limits.dirtySlices, tables.l2.capacity / 4)
        || tables.refcounts.dirtyCount > tables.refcounts.capacity / 2
        || tables.removed.count > Qcow2Limits.removedBeforeWriteBack
    }
    if isLarge { try await writeBack() }
  }

  private func perform(_ plan: CommitPlan) async throws(BlockError) {
    let node = file.node
    #if MUTANT_REFCOUNT_TABLE_BEFORE_BLOCK
    try await writeRefcountTable(plan)
    #endif
    #if !MUTANT_REFCOUNT_AFTER_POINTER
    try await writeRefcountBlocks(plan)
    #endif
    if !plan.refcountTable.isNothing || plan.hasMappings {
      #if !MUTANT_DATA_AFTER_MAPPING
      try await flushFile()
      #endif
    }
    #if !MUTANT_REFCOUNT_TABLE_BEFORE_BLOCK
    try await writeRefcountTable(plan)
    #endif
    if !plan.refcountTable.isNothing, plan.hasMappings { try await flushFile() }
    for table in plan.newTables {
      await raise(.l2AllocWrite)
      try await node.writeZeroes(ByteRange(offset: table, count: geometry.clusterSize))
    }
    for slice in plan.slices {
      await raise(.l2Update)
      let bytes = encodeTable(slice.words)
      try await node.write(
        ByteRange(offset: slice.offset, count: bytes.count), from: bytes.span.bytes)
    }
    #if !MUTANT_L1_WITH_NEW_TABLE
    if !plan.l1.isNothing { try await flushFile() }
    #endif
    try await write(plan.l1, at: plan.l1Offset, .l1) {
      (cluster: inout HeaderCluster, entries) in
      cluster.header.l1TableOffset = plan.l1Offset
      cluster.header.l1EntryCount = entries
      return .l1Table
    }
    #if MUTANT_REFCOUNT_AFTER_POINTER
    try await writeRefcountBlocks(plan)
    #endif
  }

  private func writeRefcountBlocks(_ plan: CommitPlan) async throws(BlockError) {
    let node = file.node
    for block in plan.refcountBlocks {
      await raise(.refblockUpdatePart)
      try await node.write(
        ByteRange(offset: block.offset, count: block.bytes.count), from: block.bytes.span.bytes)
    }
  }

  private func writeRefcountTable(_ plan: CommitPlan) async throws(BlockError) {
    try await write(plan.refcountTable, at: plan.refcountTableOffset, .refcountTable) {
      (cluster: inout HeaderCluster, entries) in
      cluster.header.refcountTableOffset = plan.refcountTableOffset
      cluster.header.refcountTableClusters = entries / self.geometry.tableEntriesPerCluster
      return .refcountTable
    }
  }

  /// Writes entries of a table in place; or all of it at a new place, and then, when that is
  /// durable, the fields of the header that name it.
  private func write(
    _ table: CommitPlan.TableWrite, at offset: HostOffset, _ events: TableEvents,
    _ rename: (inout HeaderCluster, _ entryCount: Int) -> HeaderFieldGroup
  ) async throws(BlockError) {
    let node = file.node
    switch table {
    case .nothing: return
    case .entries(let entries):
      for (index, value) in entries {
        await raise(events.update)
        try await node.write(
          ByteRange(offset: offset.value + index * 8, count: 8),
          from: encodeTable(CollectionOfOne(value)).span.bytes)
      }
    case .moved(let entries):
      await raise(events.write)
      let whole = (entries.count * 8).roundedUp(to: geometry.clusterSize)
      var bytes = encodeTable(entries)
      bytes += Array(repeating: 0, count: whole - bytes.count)
      try await node.write(ByteRange(offset: offset.value, count: whole), from: bytes.span.bytes)
      #if !MUTANT_HEADER_BEFORE_MOVED_TABLE
      try await flushFile()
      #endif
      await raise(events.activate)
      try await patchHeader { rename(&$0, entries.count) }
    }
  }

  /// The events that a table's writing raises.
  private struct TableEvents {
    /// An entry is written in place.
    let update: DebugEvent
    /// All of it is written at a new place.
    let write: DebugEvent
    /// The header is made to name that.
    let activate: DebugEvent

    static let l1 = TableEvents(
      update: .l1Update, write: .l1GrowWriteTable, activate: .l1GrowActivateTable)
    static let refcountTable = TableEvents(
      update: .reftableUpdate, write: .refblockAllocWriteTable,
      activate: .refblockAllocSwitchTable)
  }

  /// Gives up clusters whose references are durably gone, once no request can be using them.
  ///
  /// Those that an I/O error keeps it from stay for the next time.
  private func releaseRetired() async {
    while true {
      let next = tables.withLock { tables -> RemovedReference? in
        guard epochs.isPreviousOver else { return nil }
        return tables.retired.popLast()
      }
      guard let next else { return }
      if next.mayPunch { await punch(next) }
      await raise(.clusterFree)
      do throws(BlockError) {
        try await withRefcounts { tables throws(BlockError) in
          try tables.change(next.cluster, next.count, by: -1)
        }
      } catch {
        if error.code == .corrupt {
          // The refcounts contradict the mapping: trying again would not help. One cluster is left
          // as it is, at worst a leak, which a check finds; the others of a run are still ours.
          let parts = next.count > 1 ? next.clusters : []
          tables.withLock { $0.retired += parts }
        } else {
          tables.withLock { tables in
            tables.hindered.append(next)
            tables.hindrance = error
          }
        }
      }
    }
  }

  /// Tells the file that clusters are free, before they can be taken again.
  ///
  /// Those that others still refer to are left alone. It is a hint, and a host that fails it keeps
  /// nothing but the space; a refcount that cannot be read is told of by the release that follows.
  private func punch(_ reference: RemovedReference) async {
    var run = reference.cluster..<reference.cluster
    for cluster in reference.cluster..<reference.cluster + reference.count {
      let count = try? await withRefcounts { tables throws(BlockError) in
        // With no other reference than this one, none may come by a stream that is appended.
        tables.endStreams(at: cluster)
        return try tables.refcount(cluster)
      }
      if count == 1 {
        run = run.lowerBound..<cluster + 1
      } else {
        await punch(run)
        run = cluster + 1..<cluster + 1
      }
    }
    await punch(run)
  }

  private func punch(_ clusters: Range<Int>) async {
    guard !clusters.isEmpty else { return }
    try? await file.node.discard(
      ByteRange(
        offset: clusters.lowerBound << geometry.clusterBits,
        count: clusters.count << geometry.clusterBits))
  }

  // MARK: - Flush and poison

  /// Flushes the file, and before it the data file if there is one.
  ///
  /// When that fails nobody knows what is on disk: no write is allowed any more.
  func flushFile() async throws(BlockError) {
    do throws(BlockError) {
      try await dataFile?.node.flush()
      try await file.node.flush()
    } catch {
      poison("a flush failed", error)
      throw error
    }
  }

  /// Ends writing: what is on disk is not known any more.
  func poison(_ what: String, _ error: BlockError) {
    tables.withLock { tables in
      tables.poison = BlockError(
        .poisoned,
        "earlier \(what) (\(error.message)); close the image and check it before writing again",
        errno: error.errno, cause: error)
    }
  }

  func checkNotPoisoned() throws(BlockError) {
    if let poison = tables.withLock({ $0.poison }) { throw poison }
  }
}
