internal import BlockLayer
internal import Execution
internal import Primitives
internal import Synchronization

/// L2 tables for writers.
extension Qcow2Driver {
  /// Gives the clusters from `guest` on new entries (see `Tables.remap`), loading what it takes;
  /// answers how many are done.
  ///
  /// The caller holds their range in `allocationLocks`.
  func remap(
    _ guest: Int, _ count: Int, mayPunch: Bool = false,
    _ entry: @Sendable (_ index: Int, _ old: ExtendedL2Entry) -> ExtendedL2Entry?
  ) async throws(BlockError) -> Int {
    while true {
      let step = tables.withLock { $0.remap(guest, count, mayPunch: mayPunch, entry) }
      switch step {
      case .done(let done): return done
      case .missing(let offset): try await loadSlices(offset, guest, 1)
      }
    }
  }

  /// Sees to it that there is an L2 table at `l1Index` that nobody else refers to.
  func ensureTable(_ l1Index: Int) async throws(BlockError) {
    let state = try tables.withLock { tables throws(BlockError) in try tables.tableState(l1Index) }
    switch state {
    case .writable: return
    case .absent:
      await raise(.clusterAlloc)
      await raise(.refblockAlloc)
      try await withRefcounts { tables throws(BlockError) in try tables.addTable(l1Index) }
    case .shared: try await copyTable(l1Index)
    }
  }

  /// Replaces an L2 table that others refer to by a copy of it.
  private func copyTable(_ l1Index: Int) async throws(BlockError) {
    try await tableCopies.withLock { () async throws(BlockError) in
      let state = try tables.withLock { tables throws(BlockError) in
        try tables.tableState(l1Index)
      }
      guard case .shared(let old) = state else { return }
      let count = try await withRefcounts { tables throws(BlockError) in
        try tables.refcount(old >> geometry.clusterBits)
      }
      if count == 1 {
        // The flag was left clear when the other owner went.
        tables.withLock { $0.adoptTable(l1Index) }
        return
      }
      let place = try await allocate(1)
      let new = place.first << geometry.clusterBits
      do throws(BlockError) {
        var buffer = IOBuffer(byteCount: geometry.clusterSize)
        var bytes = buffer.mutableBytes
        let node = file.node
        await raise(.l2AllocCowRead)
        try await node.read(ByteRange(offset: old, count: bytes.byteCount), into: &bytes)
        await raise(.l2AllocWrite)
        let copy = copyForOneOwner(bytes.bytes)
        try await node.write(
          ByteRange(offset: new, count: copy.count), from: copy.span.bytes)
      } catch {
        try? await giveBack(place.first, 1)
        throw error
      }
      tables.withLock { $0.replaceTable(l1Index, old: old, new: new) }
    }
  }

  /// The bytes of a table without the copied flags.
  ///
  /// While the table was shared they meant nothing, and each of its clusters is shared still. A
  /// data file's clusters have one owner always.
  private func copyForOneOwner(_ table: RawSpan) -> [UInt8] {
    var bytes = table.toArray()
    if dataFile != nil { return bytes }
    for position in stride(from: 0, to: bytes.count, by: geometry.l2EntryByteCount) {
      bytes[position] &= 0x7f
    }
    return bytes
  }
}
