public import BlockLayer
internal import Execution
internal import Primitives
internal import Synchronization

extension Qcow2Driver: ResizableImage {
  /// Grows the disk; what is new reads as zeros, whatever a longer backing file or the rest of the
  /// last cluster hold.
  ///
  /// Shrinking is not supported yet.
  ///
  /// A crash leaves the old size or the new one.
  public func resize(to length: Int) async throws(BlockError) {
    let old = self.length
    guard length >= 0, length.isAligned(to: 512) else {
      throw BlockError(.invalidArgument, "The new size must be a multiple of 512")
    }
    guard length >= old else {
      throw BlockError(.unsupported, "Not supported yet: making a qcow2 image smaller")
    }
    guard length > old else { return }
    guard length <= geometry.maximumVirtualSize else {
      throw BlockError(
        .invalidArgument,
        "The image size is too large for file format 'qcow2' (try using a larger cluster size)")
    }
    let snapshots = try await storedSnapshots()
    guard version == .v3 || snapshots.entries.isEmpty else {
      throw BlockError(.unsupported, "Can't resize a v2 image which has snapshots")
    }
    try await prepareForChanges()
    try await commitLock.withLock { () async throws(BlockError) in
      try await settle()
      try await dropTablesBeyondDisk()
    }
    try await growL1(to: geometry.l1EntryCount(forSize: length))
    try await dataFile?.node.resize(to: length)
    try await hideOldContents(from: old, to: length)
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

  private func growL1(to count: Int) async throws(BlockError) {
    let present = tables.withLock { $0.l1.count }
    guard count > present else { return }
    await raise(.l1GrowAllocTable)
    let clusters = (count * 8).dividedRoundingUp(by: geometry.clusterSize)
    let place = try await allocate(clusters, minimum: clusters)
    tables.withLock { $0.moveL1(to: place, entryCount: count) }
  }

  /// Makes zeros of what would show in [old, length): the rest of the last cluster, and what a
  /// longer backing file has there.
  private func hideOldContents(from old: Int, to length: Int) async throws(BlockError) {
    let lastClusterEnd = min(old.roundedUp(to: geometry.clusterSize), length)
    if old < lastClusterEnd {
      let rest = ByteRange(old, lastClusterEnd)
      let run = try await lookUp(rest.lower, rest.count)
      let isHidden: Bool =
        switch run.kind {
        case .zero: true
        case .unallocated: backing.map { $0.node.length <= old } ?? true
        default: false
        }
      if !isHidden {
        let zeros = IOBuffer(byteCount: rest.count, zeroed: true)
        try await write(rest, from: zeros.bytes)
      }
    }
    guard let shown = backing?.node.length, shown > lastClusterEnd else { return }
    let covered = ByteRange(lastClusterEnd, min(shown, length))
    guard !covered.isEmpty else { return }
    if version == .v3 {
      try await writeZeroes(covered.roundedOut(to: geometry.clusterSize), mayUnmap: false)
    } else {
      try await writeZeroData(covered)
    }
  }

  private func writeZeroData(_ range: ByteRange) async throws(BlockError) {
    let zeros = IOBuffer(byteCount: min(range.count, 1 << 20), zeroed: true)
    var rest = range
    while !rest.isEmpty {
      let piece = rest.prefix(zeros.byteCount)
      try await write(piece, from: zeros.bytes.slice(ByteRange(0, piece.count)))
      rest = rest.dropFirst(piece.count)
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
