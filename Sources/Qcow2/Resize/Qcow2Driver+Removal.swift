internal import BlockLayer
internal import Execution
internal import Primitives
internal import Synchronization

/// Taking away what is mapped beyond an end of the disk.
extension Qcow2Driver {
  /// Removes every mapping of clusters that begin at `end` or behind it.
  ///
  /// Their host clusters are freed once that is durable. No request may be under way.
  func removeMappings(beyond end: Int) async throws(BlockError) {
    let first = end.roundedUp(to: geometry.clusterSize)
    let firstTable = geometry.l1EntryCount(forSize: first)
    try await removeMappings(in: ByteRange(first, firstTable * geometry.bytesPerL1Entry))
    let tablesBehind = tables.withLock { tables in
      tables.l1.indices.dropFirst(firstTable).filter { tables.l1[$0] != 0 }
    }
    guard !tablesBehind.isEmpty else { return }
    // From here on the file has every table as it is.
    try await writeBack()
    for l1Index in tablesBehind {
      try await removeTable(l1Index)
      let isMuch = tables.withLock { $0.removed.count >= Qcow2Limits.removedReferences }
      if isMuch { try await writeBack() }
    }
  }

  /// Removes the mappings of clusters of one L2 table, if there are any.
  private func removeMappings(in range: ByteRange) async throws(BlockError) {
    guard try await isMapped(range) else { return }
    try await ensureTable(geometry.split(GuestOffset(range.lower)).l1Index)
    var done = 0
    let count = range.count >> geometry.clusterBits
    while done < count {
      done += try await remap(
        range.lower + done << geometry.clusterBits, count - done, mayPunch: true
      ) { _, _ in ExtendedL2Entry(entry: .unallocated) }
    }
  }

  private func isMapped(_ range: ByteRange) async throws(BlockError) -> Bool {
    var rest = range
    while !rest.isEmpty {
      let run = try await lookUp(rest.lower, rest.count)
      if run.kind != .unallocated(host: nil) { return true }
      rest = rest.dropFirst(run.count)
    }
    return false
  }

  /// Removes an L2 table, which others may refer to as well, with all its references.
  private func removeTable(_ l1Index: Int) async throws(BlockError) {
    let entry = tables.withLock { L1Entry(rawValue: $0.l1[l1Index]) }
    var entries: [UInt64] = []
    if let table = entry.l2Table {
      let node = file.node
      guard geometry.isClusterAligned(table), table.value < node.length else {
        throw .corruption(
          "L2 table offset 0x\(String(table.value, radix: 16)) is no place of a table "
            + "(L1 index: 0x\(String(l1Index, radix: 16)))")
      }
      entries = try await Self.readTable(
        ByteRange(offset: table.value, count: geometry.clusterSize), of: node)
    }
    tables.withLock { $0.removeTable(l1Index, holding: entries) }
  }
}

extension Tables {
  /// Takes an L2 table, whose words are `words`, out of the L1 table.
  ///
  /// What it refers to had a reference for each table that names it: one goes, also where a
  /// snapshot keeps the table.
  mutating func removeTable(_ l1Index: Int, holding words: [UInt64]) {
    for index in stride(from: 0, to: words.count, by: geometry.l2EntryByteCount / 8) {
      note(removedBy: L2Entry(rawValue: words[index]), mayPunch: true)
    }
    if let table = L1Entry(rawValue: l1[l1Index]).l2Table?.value {
      let isCached = stride(from: table, to: table + geometry.clusterSize, by: l2.sliceSize)
        .contains { l2.slice(at: $0) != nil }
      if isCached { l2.drop(from: table, to: table + geometry.clusterSize) }
      note(removedTable: table >> geometry.clusterBits)
    }
    l1[l1Index] = 0
    dirtyL1.insert(l1Index)
  }
}
