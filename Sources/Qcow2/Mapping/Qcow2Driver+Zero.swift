public import BlockLayer
internal import Execution
public import Primitives
internal import Synchronization

/// Write-zeroes and discard.
extension Qcow2Driver {
  /// How an entry changes; nil leaves it as it is.
  private typealias EntryChange =
    @Sendable (_ index: Int, _ old: ExtendedL2Entry) -> ExtendedL2Entry?

  /// Makes `range` read as zeros: whole clusters and subclusters by their mapping, parts of them by
  /// data, unless the rest of the subcluster reads as zeros too.
  ///
  /// A version 2 overlay cannot say *zero*: there it is unsupported, and data is written.
  public func writeZeroes(_ range: ByteRange, mayUnmap: Bool) async throws(BlockError) {
    do {
      try await zeroAll(range, mayUnmap)
    } catch {
      await noteCorruption(error)
      throw error
    }
  }

  private func zeroAll(_ range: ByteRange, _ mayUnmap: Bool) async throws(BlockError) {
    guard version == .v3 || backing == nil else {
      throw BlockError(.unsupported, "a version 2 overlay has no zero clusters")
    }
    try await prepareForChanges()
    var rest = range
    while !rest.isEmpty {
      let whole = wholeUnits(atStartOf: rest, geometry.clusterSize)
      if !whole.isEmpty {
        try await zero(whole, mayUnmap)
        rest = rest.dropFirst(whole.count)
        continue
      }
      let cluster = ByteRange(
        offset: rest.lower.roundedDown(to: geometry.clusterSize), count: geometry.clusterSize)
      let piece = rest.intersection(cluster)
      rest = rest.dropFirst(try await zeroPart(of: cluster, piece, mayUnmap))
    }
  }

  /// Gives up the clusters of `range`, which read as zeros then; whole clusters only.
  ///
  /// Clusters that were never allocated stay as they are where nothing shows through. A version 2
  /// overlay cannot hide what is below, so there nothing is done.
  public func discard(_ range: ByteRange) async throws(BlockError) {
    do {
      try await discardAll(range)
    } catch {
      await noteCorruption(error)
      throw error
    }
  }

  private func discardAll(_ range: ByteRange) async throws(BlockError) {
    guard version == .v3 || backing == nil else {
      throw BlockError(.unsupported, "a version 2 overlay has no zero clusters")
    }
    try await prepareForChanges()
    let hidesBelow = backing != nil
    let nothing = ExtendedL2Entry(entry: .unallocated)
    let gone = version == .v3 ? zeroEntry : nothing
    try await remapAll(
      range, isNeeded: { hidesBelow || $0 != .unallocated(host: nil) }, mayPunch: true
    ) { (_, old) in
      old == nothing && !hidesBelow ? nil : gone
    }
  }

  /// The entry of a cluster of zeros without a place in the file.
  private var zeroEntry: ExtendedL2Entry {
    geometry.hasExtendedL2
      ? ExtendedL2Entry(entry: .unallocated, bitmap: ExtendedL2Entry.allZero)
      : ExtendedL2Entry(entry: .zeroPlain)
  }

  /// The whole units of `size` bytes at the start of `range`; one that ends with the disk counts as
  /// whole.
  private func wholeUnits(atStartOf range: ByteRange, _ size: Int) -> ByteRange {
    guard range.lower.isAligned(to: size) else { return ByteRange(0, 0) }
    if range.upper == length { return range }
    return ByteRange(range.lower, range.upper.roundedDown(to: size))
  }

  private func zero(_ range: ByteRange, _ mayUnmap: Bool) async throws(BlockError) {
    let isVersion3 = version == .v3
    try await remapAll(
      range, isNeeded: { isVersion3 || !$0.isUnallocated }, mayPunch: mayUnmap,
      zeroing(mayUnmap))
  }

  /// How write-zeroes changes the entry of a whole cluster.
  private func zeroing(_ mayUnmap: Bool) -> EntryChange {
    let geometry = self.geometry
    let isVersion3 = version == .v3
    let hasDataFile = dataFile != nil
    let plain = zeroEntry
    return { _, old in
      guard isVersion3 else { return ExtendedL2Entry(entry: .unallocated) }
      guard !mayUnmap, !old.entry.isCompressed,
        let host = old.entry.hostCluster(hasDataFile: hasDataFile)
      else { return plain }
      if geometry.hasExtendedL2 {
        return old.entry.isCopied
          ? ExtendedL2Entry(entry: old.entry, bitmap: ExtendedL2Entry.allZero) : plain
      }
      if old.entry.isZero { return nil }
      return old.entry.isCopied
        ? ExtendedL2Entry(entry: .zeroAllocated(host, isCopied: true)) : plain
    }
  }

  // MARK: - Parts of clusters

  /// Zeroes the beginning of `piece`, a part of `cluster`; answers how many bytes.
  private func zeroPart(
    of cluster: ByteRange, _ piece: ByteRange, _ mayUnmap: Bool
  ) async throws(BlockError) -> Int {
    if geometry.hasExtendedL2 {
      let whole = wholeUnits(atStartOf: piece, geometry.subclusterSize)
      if !whole.isEmpty, try await zeroSubclusters(whole, of: cluster) { return whole.count }
    }
    let unit = ByteRange(
      offset: piece.lower.roundedDown(to: geometry.subclusterSize), count: geometry.subclusterSize)
    let part = piece.intersection(unit)
    if try await !zeroIfAllIsZero(unit, of: cluster, around: part, mayUnmap) {
      let zeros = IOBuffer(byteCount: part.count, zeroed: true)
      try await write(part, from: zeros.bytes)
    }
    return part.count
  }

  /// Zeroes a whole unit (a subcluster, or the cluster where there are none) for a request of a
  /// part of it, if it is not mapped to data and reads as zeros around that part.
  ///
  /// Says whether it did.
  ///
  /// Looked at under the lock: a write to another part of the unit would have to map it first.
  private func zeroIfAllIsZero(
    _ unit: ByteRange, of cluster: ByteRange, around piece: ByteRange, _ mayUnmap: Bool
  ) async throws(BlockError) -> Bool {
    try await allocationLocks.withLock(cluster) { () async throws(BlockError) in
      let run = try await lookUp(unit.lower, 1)
      if case .data = run.kind { return false }
      if run.kind.isCompressed { return false }
      guard try await readsZero(ByteRange(unit.lower, piece.lower)),
        try await readsZero(ByteRange(piece.upper, unit.upper))
      else { return false }
      if geometry.hasExtendedL2 {
        try await zeroSubclustersLocked(unit, of: cluster)
      } else if version == .v3 || !run.kind.isUnallocated {
        try await remapLocked(cluster, cluster, mayPunch: mayUnmap, zeroing(mayUnmap))
      }
      return true
    }
  }

  /// Makes whole subclusters of one cluster zeros; says no where the cluster is compressed.
  private func zeroSubclusters(
    _ range: ByteRange, of cluster: ByteRange
  ) async throws(BlockError) -> Bool {
    try await allocationLocks.withLock(cluster) { () async throws(BlockError) in
      let run = try await lookUp(range.lower, 1)
      if run.kind.isCompressed { return false }
      try await zeroSubclustersLocked(range, of: cluster)
      return true
    }
  }

  private func zeroSubclustersLocked(
    _ range: ByteRange, of cluster: ByteRange
  ) async throws(BlockError) {
    let bits = geometry.subclusters(of: range.intersection(cluster), in: cluster.lower)
    try await remapLocked(cluster, range, mayPunch: false) { (_, old) in
      old.with(allocated: old.allocated & ~bits, zeros: old.zeros | bits)
    }
  }

  // MARK: - Changing entries

  /// Changes the mapping of every cluster of `range`, table by table.
  ///
  /// Where `isNeeded` says no of runs of a kind, no L2 table is made for them.
  private func remapAll(
    _ range: ByteRange, isNeeded: (MappedRun.Kind) -> Bool, mayPunch: Bool,
    _ change: EntryChange
  ) async throws(BlockError) {
    var rest = range.roundedOut(to: geometry.clusterSize)
    while !rest.isEmpty {
      // The run may begin or end inside a cluster that has subclusters of other kinds.
      let run = try await lookUp(rest.lower, rest.count)
      let step = rest.prefix(run.count.roundedUp(to: geometry.clusterSize))
      if isNeeded(run.kind) || isMixed(step, run) {
        try await allocationLocks.withLock(step) { () async throws(BlockError) in
          try await remapLocked(step, step, mayPunch: mayPunch, change)
        }
        // One request may reach over more tables than the cache should hold dirty.
        try await writeBackIfLarge()
      }
      rest = rest.dropFirst(step.count)
    }
  }

  /// Whether clusters may have more to them than their run says: an unallocated subcluster may have
  /// a host cluster, and neighbours of other kinds.
  private func isMixed(_ clusters: ByteRange, _ run: MappedRun) -> Bool {
    guard geometry.hasExtendedL2, run.kind.isUnallocated else { return false }
    let index = geometry.split(GuestOffset(clusters.lower)).l1Index
    return tables.withLock { index < $0.l1.count && $0.l1[index] != 0 }
  }

  /// Changes the mapping of clusters of one L2 table, whose range the caller has locked, so that
  /// `zeros`, a part of them, read as zeros.
  private func remapLocked(
    _ clusters: ByteRange, _ zeros: ByteRange, mayPunch: Bool, _ change: EntryChange
  ) async throws(BlockError) {
    if let dataFile, mayPunch || isDataFileRaw {
      // The data file shows what the guest sees, or gives its space back.
      let inside = zeros.intersection(ByteRange(0, max(length, zeros.lower)))
      try await dataFile.node.writeZeroes(inside, mayUnmap: mayPunch)
    }
    try await ensureTable(geometry.split(GuestOffset(clusters.lower)).l1Index)
    var done = 0
    let count = clusters.count >> geometry.clusterBits
    while done < count {
      done += try await remap(
        clusters.lower + done << geometry.clusterBits, count - done, mayPunch: mayPunch, change)
    }
  }
}
