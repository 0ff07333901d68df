public import BlockLayer
internal import Execution
public import Primitives
internal import Synchronization

/// Write-zeroes and discard.
extension Qcow2Driver {
  /// Makes `range` read as zeros: whole clusters by their mapping, parts of clusters by data,
  /// unless the rest of the cluster reads as zeros too.
  ///
  /// A version 2 overlay cannot say *zero*: there it is unsupported, and data is written.
  public func writeZeroes(_ range: ByteRange, mayUnmap: Bool) async throws(BlockError) {
    guard version == .v3 || backing == nil else {
      throw BlockError(.unsupported, "a version 2 overlay has no zero clusters")
    }
    try await prepareForChanges()
    var rest = range
    while !rest.isEmpty {
      let whole = wholeClusters(atStartOf: rest)
      if !whole.isEmpty {
        try await zero(whole, mayUnmap)
        rest = rest.dropFirst(whole.count)
        continue
      }
      let cluster = ByteRange(
        offset: rest.lower.roundedDown(to: geometry.clusterSize), count: geometry.clusterSize)
      let piece = rest.intersection(cluster)
      if try await !zeroIfAllIsZero(cluster, around: piece, mayUnmap) {
        let zeros = IOBuffer(byteCount: piece.count, zeroed: true)
        try await write(piece, from: zeros.bytes)
      }
      rest = rest.dropFirst(piece.count)
    }
  }

  /// Gives up the clusters of `range`, which read as zeros then; whole clusters only.
  ///
  /// Clusters that were never allocated stay as they are where nothing shows through. A version 2
  /// overlay cannot hide what is below, so there nothing is done.
  public func discard(_ range: ByteRange) async throws(BlockError) {
    guard version == .v3 || backing == nil else {
      throw BlockError(.unsupported, "a version 2 overlay has no zero clusters")
    }
    try await prepareForChanges()
    let hidesBelow = backing != nil
    let gone: L2Entry = version == .v3 ? .zeroPlain : .unallocated
    try await remapAll(range, isNeeded: { hidesBelow || $0 != .unallocated }, mayPunch: true) {
      (_, old) in
      old == .unallocated && !hidesBelow ? nil : gone
    }
  }

  /// The whole clusters at the start of `range`; the disk's last, short cluster counts as whole.
  private func wholeClusters(atStartOf range: ByteRange) -> ByteRange {
    guard range.lower.isAligned(to: geometry.clusterSize) else { return ByteRange(0, 0) }
    if range.upper == length { return range }
    return ByteRange(range.lower, range.upper.roundedDown(to: geometry.clusterSize))
  }

  /// Zeroes a whole cluster for a request of a part of it, if it is not mapped to data and reads as
  /// zeros around that part.
  ///
  /// Says whether it did.
  ///
  /// Looked at under the lock: a write to another part of the cluster would have to map it first.
  private func zeroIfAllIsZero(
    _ cluster: ByteRange, around piece: ByteRange, _ mayUnmap: Bool
  ) async throws(BlockError) -> Bool {
    try await allocationLocks.withLock(cluster) { () async throws(BlockError) in
      let run = try await lookUp(cluster.lower, 1)
      if case .data = run.kind { return false }
      guard try await readsZero(ByteRange(cluster.lower, piece.lower)),
        try await readsZero(ByteRange(piece.upper, cluster.upper))
      else { return false }
      if version == .v3 || run.kind != .unallocated {
        try await remapLocked(cluster, mayPunch: mayUnmap, zeroing(mayUnmap))
      }
      return true
    }
  }

  private func zero(_ range: ByteRange, _ mayUnmap: Bool) async throws(BlockError) {
    let isVersion3 = version == .v3
    try await remapAll(
      range, isNeeded: { isVersion3 || $0 != .unallocated }, mayPunch: mayUnmap,
      zeroing(mayUnmap))
  }

  /// How write-zeroes changes an entry.
  private func zeroing(_ mayUnmap: Bool) -> @Sendable (_ index: Int, _ old: L2Entry) -> L2Entry? {
    let bits = geometry.clusterBits
    let isVersion3 = version == .v3
    return { _, old in
      guard isVersion3 else { return .unallocated }
      switch old.kind(clusterBits: bits) {
      case .normal(let host) where old.isCopied && !mayUnmap:
        return .zeroAllocated(host, isCopied: true)
      case .zeroAllocated where !mayUnmap: return nil
      default: return .zeroPlain
      }
    }
  }

  /// Changes the mapping of every cluster of `range`, table by table.
  ///
  /// Where `isNeeded` says no of runs of a kind, no L2 table is made for them.
  private func remapAll(
    _ range: ByteRange, isNeeded: (MappedRun.Kind) -> Bool, mayPunch: Bool,
    _ entry: @Sendable (_ index: Int, _ old: L2Entry) -> L2Entry?
  ) async throws(BlockError) {
    var rest = range.roundedOut(to: geometry.clusterSize)
    while !rest.isEmpty {
      let run = try await lookUp(rest.lower, rest.count)
      if run.kind.isCompressed { throw .unsupported(.compressedClusters) }
      let step = rest.prefix(run.count.roundedUp(to: geometry.clusterSize))
      if isNeeded(run.kind) {
        try await allocationLocks.withLock(step) { () async throws(BlockError) in
          try await remapLocked(step, mayPunch: mayPunch, entry)
        }
        // One request may reach over more tables than the cache should hold dirty.
        try await writeBackIfLarge()
      }
      rest = rest.dropFirst(step.count)
    }
  }

  /// Changes the mapping of clusters of one L2 table, whose range the caller has locked.
  private func remapLocked(
    _ clusters: ByteRange, mayPunch: Bool,
    _ entry: @Sendable (_ index: Int, _ old: L2Entry) -> L2Entry?
  ) async throws(BlockError) {
    try await ensureTable(geometry.split(GuestOffset(clusters.lower)).l1Index)
    var done = 0
    let count = clusters.count >> geometry.clusterBits
    while done < count {
      done += try await remap(
        clusters.lower + done << geometry.clusterBits, count - done, mayPunch: mayPunch, entry)
    }
  }
}
