public import BlockLayer
internal import Execution
internal import Primitives
internal import Synchronization

extension Qcow2Driver: EmptyableImage {
  /// Puts an empty L1 table in the place of the active one, by one write of the header, then gives
  /// up what that named, table by table.
  ///
  /// Clusters that snapshots use too lose one reference. What cannot be read of the old tables, or
  /// contradicts the format, leaks. A data file that is raw would have to show what is below, and
  /// is refused.
  public func makeEmpty() async throws(BlockError) {
    guard !isDataFileRaw else {
      throw BlockError(.unsupported, "an image with a raw data file cannot be emptied")
    }
    try await structure.withLock { () async throws(BlockError) in
      try await prepareForChanges()
      let disk = ByteRange(0, Int.max)
      let old = try await allocationLocks.withLock(disk) { () async throws(BlockError) in
        // The old tables on disk are complete then, and memory is not ahead of them.
        try await writeBack()
        let old = try await switchToEmptyTable()
        // Space only: an image with a data file has no snapshots that could use it.
        if let dataFile {
          try? await dataFile.node.discard(ByteRange(0, dataFile.node.length))
        }
        return old
      }
      for entry in old { try await giveUpTable(L1Entry(rawValue: entry)) }
      for _ in 0..<4 where tables.withLock({ $0.isDirty }) { try await writeBack() }
      try await flushFile()
    }
  }

  /// Makes the switch durable; answers the old table.
  private func switchToEmptyTable() async throws(BlockError) -> [UInt64] {
    let count = tables.withLock { $0.l1.count }
    guard count > 0 else { return [] }
    await raise(.emptyImagePrepare)
    let clusters = geometry.clusterCount(forBytes: count * 8)
    let place = try await allocate(clusters, minimum: clusters)
    let old = tables.withLock { $0.emptyL1(movedTo: place) }
    try await writeBack()
    try await flushFile()
    return old
  }

  /// Notes the references of an L2 table that the active L1 table no longer names, and its own, as
  /// removed, and gives them up.
  private func giveUpTable(_ entry: L1Entry) async throws(BlockError) {
    guard let table = entry.l2Table, geometry.isClusterAligned(table),
      table.value < file.node.length
    else { return }
    let range = ByteRange(offset: table.value, count: geometry.clusterSize)
    guard let entries = try? await Self.readTable(range, of: file.node) else { return }
    let cluster = table.value >> geometry.clusterBits
    let wordsPerEntry = geometry.l2EntryByteCount / 8
    tables.withLock { tables in
      for index in stride(from: 0, to: entries.count, by: wordsPerEntry) {
        tables.note(removedBy: L2Entry(rawValue: entries[index]), mayPunch: true)
      }
      tables.note(removedTable: cluster)
    }
    try await writeBack()
  }
}

extension Tables {
  /// Forgets all mappings, and moves the L1 table, all zeros now, to new clusters.
  ///
  /// On disk the old one holds until the header names the new one. Answers the old entries.
  fileprivate mutating func emptyL1(movedTo place: ClusterRun) -> [UInt64] {
    let old = l1
    moveL1(to: place, entryCount: old.count)
    l1 = Array(repeating: 0, count: old.count)
    dirtyL1 = []
    newTables = []
    l2.drop(from: 0, to: .max)
    return old
  }
}
