internal import BlockLayer
internal import Primitives
internal import Synchronization

/// Changing the copied flags of tables where they stand.
///
/// Each entry is right with its flag and without it while the change is under way, so that it does
/// not matter which parts a crash leaves. The tables are not in the L2 cache meanwhile.
extension Qcow2Driver {
  /// Clears the flags of all entries of L2 tables.
  func clearCopiedFlags(in tables: L2References) async throws(BlockError) {
    var buffer = IOBuffer(byteCount: geometry.clusterSize)
    for table in tables.tables {
      let range = range(ofCluster: table.cluster)
      var bytes = buffer.mutableBytes
      try await file.node.read(range, into: &bytes)
      var isChanged = false
      for index in 0..<geometry.l2EntriesPerTable {
        let place = index * geometry.l2EntryByteCount
        let entry = L2Entry(rawValue: bytes.bytes.bigEndian(UInt64.self, at: place))
        guard entry.isCopied else { continue }
        bytes.storeBigEndian(entry.copied(false).rawValue, at: place)
        isChanged = true
      }
      if isChanged { try await file.node.write(range, from: bytes.bytes) }
    }
  }

  /// Clears the flags of all entries of the active L1 table.
  func clearActiveL1Flags() async throws(BlockError) {
    try await rewriteActiveL1 { L1Entry(rawValue: $1).copied(false).rawValue }
  }

  /// Sets the flags of the active tables where one reference will be left once `counts` are taken
  /// off the refcounts: the truth about the references already.
  func setCopiedFlags(
    in active: TableTree, afterFallBy counts: inout ReferenceCounts
  ) async throws(BlockError) {
    var owned: Set<Int> = []
    for table in active.tables.tables {
      guard try await willBeOwned(table.cluster, &counts) else { continue }
      owned.insert(table.cluster)
      // The data of a table that others have too is theirs as well: it has no flags.
      try await setCopiedFlags(ofTable: table.cluster, &counts)
    }
    let bits = geometry.clusterBits
    try await rewriteActiveL1 { [owned] _, raw in
      guard let table = L1Entry(rawValue: raw).l2Table else { return raw }
      return L1Entry(rawValue: raw).copied(owned.contains(table.value >> bits)).rawValue
    }
  }

  private func setCopiedFlags(
    ofTable cluster: Int, _ counts: inout ReferenceCounts
  ) async throws(BlockError) {
    var buffer = IOBuffer(byteCount: geometry.clusterSize)
    var bytes = buffer.mutableBytes
    try await file.node.read(range(ofCluster: cluster), into: &bytes)
    var isChanged = false
    for index in 0..<geometry.l2EntriesPerTable {
      let place = index * geometry.l2EntryByteCount
      let entry = L2Entry(rawValue: bytes.bytes.bigEndian(UInt64.self, at: place))
      guard !entry.isCompressed, let host = entry.hostCluster() else { continue }
      let isOwned = try await willBeOwned(host.value >> geometry.clusterBits, &counts)
      guard isOwned != entry.isCopied else { continue }
      bytes.storeBigEndian(entry.copied(isOwned).rawValue, at: place)
      isChanged = true
    }
    if isChanged { try await file.node.write(range(ofCluster: cluster), from: bytes.bytes) }
  }

  private func willBeOwned(
    _ cluster: Int, _ counts: inout ReferenceCounts
  ) async throws(BlockError) -> Bool {
    let refcount = try await withRefcounts { tables throws(BlockError) in
      try tables.refcount(cluster)
    }
    return refcount == counts.entry(of: cluster).count + 1
  }

  /// Gives the entries of the active L1 table other values, in memory and where the table stands.
  ///
  /// All that it says otherwise must be on disk already.
  func rewriteActiveL1(
    _ entry: @Sendable (_ index: Int, _ old: UInt64) -> UInt64
  ) async throws(BlockError) {
    let (offset, changed) = tables.withLock { tables -> (Int, [(index: Int, values: [UInt64])]) in
      var changed: [(index: Int, values: [UInt64])] = []
      for index in tables.l1.indices {
        let new = entry(index, tables.l1[index])
        guard new != tables.l1[index] else { continue }
        tables.l1[index] = new
        // Until it is written.
        tables.dirtyL1.insert(index)
        if let last = changed.last, last.index + last.values.count == index {
          changed[changed.count - 1].values.append(new)
        } else {
          changed.append((index, [new]))
        }
      }
      return (tables.l1Offset.value, changed)
    }
    for run in changed {
      let bytes = encodeTable(run.values)
      try await file.node.write(
        ByteRange(offset: offset + run.index * 8, count: bytes.count), from: bytes.span.bytes)
      tables.withLock { tables in
        for (position, value) in run.values.enumerated()
        where tables.l1[run.index + position] == value {
          tables.dirtyL1.remove(run.index + position)
        }
      }
    }
  }
}

extension L1Entry {
  /// The same entry with the copied flag set or clear; one without a table has none.
  func copied(_ isCopied: Bool) -> L1Entry {
    let mask: UInt64 = 1 << 63
    return L1Entry(rawValue: rawValue & ~mask | (isCopied && l2Table != nil ? mask : 0))
  }
}
