public import BlockLayer
internal import Execution
public import Primitives
internal import Synchronization

/// Changing the size of the disk. A crash leaves the old size or the new one:
///
///     growing:   what is mapped beyond the old end goes, what would show is hidden ─→ size
///     shrinking: size ─→ what is mapped beyond the new end goes ─→ frees ─→ the file gets shorter
///
/// The arrows are flushes. A mapping beyond the disk's end, which a crash while shrinking leaves,
/// shows nothing: the next change of the size takes it away.
extension Qcow2Driver: ResizableImage {
  /// Gives the disk another size; new bytes read as zeros, whatever a longer backing file, the rest
  /// of the last cluster or clusters from before a shrinking hold.
  ///
  /// Bytes below both sizes never change. Shrinking gives up the clusters beyond the new end, and
  /// the end of the file that nothing uses then. No request may be under way.
  public func resize(to length: Int) async throws(BlockError) {
    try await structure.withLock { () async throws(BlockError) in
      try checkResizable(to: length)
      if length < self.length {
        try await shrink(to: length)
      } else {
        try await enlarge(to: length, .off)
      }
    }
  }

  /// Makes the disk longer, with host clusters for all that is new.
  public func grow(to length: Int, _ preallocation: Preallocation) async throws(BlockError) {
    try await structure.withLock { () async throws(BlockError) in
      try checkResizable(to: length)
      guard length >= self.length else {
        throw BlockError(.invalidArgument, "Preallocation can only be used for growing images")
      }
      try await enlarge(to: length, preallocation)
    }
  }

  /// Throws, with QEMU's texts, when the disk cannot have that size.
  func checkResizable(to length: Int) throws(BlockError) {
    guard length >= 0 else {
      throw BlockError(.invalidArgument, "Image size cannot be negative")
    }
    guard length.isAligned(to: 512) else {
      throw BlockError(.invalidArgument, "The new size must be a multiple of 512")
    }
    guard version == .v3 || tables.withLock({ $0.header.header.snapshotCount }) == 0 else {
      throw BlockError(.unsupported, "Can't resize a v2 image which has snapshots")
    }
    guard length <= geometry.maximumVirtualSize else {
      throw BlockError(.invalidArgument, "Failed to grow the L1 table: File too large")
    }
  }

  private func switchSize(to length: Int) async throws(BlockError) {
    try await writeBack()
    try await commitLock.withLock { () async throws(BlockError) in
      try await flushFile()
      try await patchHeader { cluster in
        cluster.header.virtualSize = length
        return .virtualSize
      }
    }
    virtualSize.store(length, ordering: .releasing)
  }

  // MARK: - Growing

  private func enlarge(to length: Int, _ preallocation: Preallocation) async throws(BlockError) {
    let old = self.length
    guard length > old else { return }
    try await prepareForChanges()
    try await removeMappings(beyond: old)
    try await growL1(to: geometry.l1EntryCount(forSize: length))
    // In a raw data file everything has its place.
    let preallocation = preallocation == .off && isDataFileRaw ? .metadata : preallocation
    let lastClusterEnd = min(old.roundedUp(to: geometry.clusterSize), length)
    try await hideRestOfCluster(ByteRange(old, lastClusterEnd))
    if preallocation == .off {
      try await hideBacking(ByteRange(lastClusterEnd, length))
    } else {
      try await preallocate(ByteRange(lastClusterEnd, length), preallocation)
    }
    try await growDataFile(from: old, to: length, preallocation)
    try await switchSize(to: length)
  }

  /// Makes the data file as long as the disk.
  ///
  /// What it has beyond the old end, from before a shrinking that a crash cut off, goes first.
  private func growDataFile(
    from old: Int, to length: Int, _ preallocation: Preallocation
  ) async throws(BlockError) {
    guard let node = dataFile?.node else { return }
    if node.length > old { try await node.resize(to: old, mayShrink: true) }
    try await node.resize(
      to: length, preallocation: preallocation == .metadata ? .off : preallocation)
  }

  private func growL1(to count: Int) async throws(BlockError) {
    let present = tables.withLock { $0.l1.count }
    guard count > present else { return }
    await raise(.l1GrowAllocTable)
    let clusters = (count * 8).dividedRoundingUp(by: geometry.clusterSize)
    let place = try await allocate(clusters, minimum: clusters)
    tables.withLock { $0.moveL1(to: place, entryCount: count) }
  }

  /// Makes zeros of the rest of the last cluster, `range`, where something else would show.
  private func hideRestOfCluster(_ range: ByteRange) async throws(BlockError) {
    var rest = range
    while !rest.isEmpty {
      let run = try await lookUp(rest.lower, rest.count)
      let part = rest.prefix(run.count)
      let isHidden: Bool =
        switch run.kind {
        case .zero: true
        case .unallocated: backing.map { $0.node.length <= range.lower } ?? true
        default: false
        }
      if !isHidden { try await writeZeroData(part) }
      rest = rest.dropFirst(part.count)
    }
  }

  /// Makes zeros of `range`, whole clusters, as far as a longer backing file would show there.
  private func hideBacking(_ range: ByteRange) async throws(BlockError) {
    guard let shown = backing?.node.length, shown > range.lower else { return }
    let covered = ByteRange(range.lower, min(shown, range.upper))
    guard !covered.isEmpty else { return }
    if version == .v3 {
      try await writeZeroes(covered.roundedOut(to: geometry.clusterSize), mayUnmap: false)
    } else {
      try await writeZeroData(covered)
    }
  }

  /// Writes zeros as data.
  func writeZeroData(_ range: ByteRange) async throws(BlockError) {
    let zeros = IOBuffer(byteCount: min(range.count, 1 << 20), zeroed: true)
    var rest = range
    while !rest.isEmpty {
      let piece = rest.prefix(zeros.byteCount)
      try await write(piece, from: zeros.bytes.slice(ByteRange(0, piece.count)))
      rest = rest.dropFirst(piece.count)
    }
  }

  // MARK: - Shrinking

  private func shrink(to length: Int) async throws(BlockError) {
    try await prepareForChanges()
    #if MUTANT_FILE_CUT_BEFORE_SIZE
    try await removeMappings(beyond: length)
    try await releaseFreeTail()
    #endif
    try await switchSize(to: length)
    // The disk has its new size, whatever fails from here on.
    await raise(.l1ShrinkFreeL2Clusters)
    try await removeMappings(beyond: length)
    if dataFile == nil { try await clearRestOfCluster(behind: length) }
    try await writeAllBack()
    try await dataFile?.node.resize(to: length, mayShrink: true)
    try await releaseFreeTail()
  }

  /// Makes zeros of what the last cluster holds behind the disk's end, if it is ours alone.
  ///
  /// Growing would hide it anyway; this is for those who grow an image and do not.
  private func clearRestOfCluster(behind end: Int) async throws(BlockError) {
    var rest = ByteRange(end, end.roundedUp(to: geometry.clusterSize))
    while !rest.isEmpty {
      let run = try await lookUp(rest.lower, rest.count)
      let part = rest.prefix(run.count)
      if case .data(_, isCopied: true) = run.kind { try await writeZeroData(part) }
      rest = rest.dropFirst(part.count)
    }
  }
}

extension Tables {
  /// Moves the L1 table to new, larger clusters.
  ///
  /// On disk the old one holds until the header names the new one.
  mutating func moveL1(to place: ClusterRun, entryCount: Int) {
    if !l1.isEmpty {
      removed.append(
        RemovedReference(
          cluster: l1Offset.value >> geometry.clusterBits,
          count: geometry.clusterCount(forBytes: l1.count * 8), mayPunch: false))
    }
    l1 += Array(repeating: 0, count: entryCount - l1.count)
    l1Offset = HostOffset(place.first << geometry.clusterBits)
    isL1Moved = true
    metadataClusters.insert(place.first..<place.first + place.count, as: .activeL1Table)
  }
}
