internal import BlockLayer
internal import Execution
internal import Primitives
internal import Synchronization

/// The way back to version 2, which has no feature bits, no other width of refcounts and no zero
/// clusters.
extension Qcow2Driver {
  /// Throws, with QEMU's texts, when the image has what version 2 cannot say.
  ///
  /// `options` are those that will have been applied before; `hasBitmaps` says whether the node
  /// has any to store.
  func checkDowngradable(
    _ options: AmendOptions, hasBitmaps: Bool
  ) async throws(BlockError) {
    let cluster = tables.withLock { $0.header }
    let header = cluster.header
    guard header.version == .v3 else { return }
    func refuse(_ text: String) -> BlockError { BlockError(.unsupported, text) }
    guard (options.refcountBits ?? 1 << header.refcountOrder) == 16 else {
      throw refuse("compat=0.10 requires refcount_bits=16")
    }
    guard !header.incompatibleFeatures.contains(.externalDataFile) else {
      throw refuse("Cannot downgrade an image with a data file")
    }
    let features = header.incompatibleFeatures.subtracting(.dirty)
    guard features.isEmpty else {
      throw refuse(
        "Cannot downgrade an image with incompatible features "
          + "0x\(String(features.rawValue, radix: 16)) set")
    }
    guard !hasBitmaps, cluster.extensions.bitmaps == nil else {
      throw refuse("Cannot downgrade an image with persistent bitmaps: remove them first")
    }
    try await checkSnapshots(sizeAfterwards: options.virtualSize ?? length)
  }

  /// Makes an image of version 2 of one of version 3 that `checkDowngradable` let pass.
  func downgrade() async throws(BlockError) {
    guard version == .v3 else { return }
    try await prepareForChanges()
    try await removeMappings(beyond: length)
    try await expandZeroClusters()
    try await writeAllBack()
    try await commitLock.withLock { () async throws(BlockError) in
      try await rewriteHeader { cluster in
        cluster.header.version = .v2
        cluster.header.incompatibleFeatures = []
        cluster.header.compatibleFeatures = []
        cluster.header.autoclearFeatures = []
        cluster.header.unknownTail = []
        cluster.extensions.featureNames = []
      }
    }
  }

  /// Gives every guest cluster that is said to be zero a mapping that version 2 has: none where
  /// nothing shows through, else a cluster of zeros.
  private func expandZeroClusters() async throws(BlockError) {
    let hasBacking = tables.withLock { $0.header.backingFileName } != nil
    let bits = geometry.clusterBits
    var rest = ByteRange(0, length.roundedUp(to: geometry.clusterSize))
    while !rest.isEmpty {
      let run = try await lookUp(rest.lower, rest.count)
      let step = rest.prefix(run.count.roundedUp(to: geometry.clusterSize))
      rest = rest.dropFirst(step.count)
      guard case .zero = run.kind else { continue }
      if hasBacking {
        try await writeZeroData(step.intersection(ByteRange(0, length)))
      } else {
        try await ensureTable(geometry.split(GuestOffset(step.lower)).l1Index)
        var done = 0
        while done < step.count >> bits {
          done += try await remap(step.lower + done << bits, step.count >> bits - done) { _, _ in
            ExtendedL2Entry(entry: .unallocated)
          }
        }
      }
      try await writeBackIfLarge()
    }
  }

  // MARK: - Snapshots

  /// Version 2 keeps no disk size with a snapshot, 32 bits of the size of its VM state, and has no
  /// zero clusters in its tables either.
  private func checkSnapshots(sizeAfterwards size: Int) async throws(BlockError) {
    var seen: Set<UInt64> = []
    var looked: Set<ByteRange> = []
    var budget = Self.l1BytesLookedAt
    for snapshot in try await storedSnapshots().entries {
      let isTold =
        snapshot.diskByteCount.map { $0 == UInt64(size) } ?? true
        && snapshot.vmStateByteCount <= UInt32.max
      if let range = snapshot.l1TableRange, isTold {
        // Tables that are one are looked at once; true ones overlap no others.
        guard looked.insert(range).inserted else { continue }
        budget -= range.count
        guard budget >= 0 else {
          throw BlockError(.unsupported, "the snapshots' L1 tables are too large to be looked at")
        }
      }
      let hasZeros = isTold ? try await hasZeroClusters(snapshot, &seen) : true
      guard !hasZeros else {
        throw BlockError(.unsupported, "Internal snapshots prevent downgrade of image")
      }
    }
  }

  /// How many bytes of snapshots' L1 tables a downgrade reads: those of 65536 snapshots of a
  /// tebibyte.
  private static let l1BytesLookedAt = 1 << 30

  private func hasZeroClusters(
    _ snapshot: SnapshotTableEntry, _ seen: inout Set<UInt64>
  ) async throws(BlockError) -> Bool {
    if let defect = snapshot.l1TableDefect(geometry: geometry) { throw BlockError(defect) }
    try await writeAllBack()
    for value in try await Self.readTable(snapshot.l1TableRange, of: file.node) {
      guard let table = L1Entry(rawValue: value).l2Table, seen.insert(UInt64(table.value)).inserted
      else { continue }
      guard geometry.isClusterAligned(table), table.value < file.node.length else {
        throw .corruption("L2 table offset \(table) of a snapshot is no place of a table")
      }
      let range = ByteRange(offset: table.value, count: geometry.clusterSize)
      for word in try await Self.readTable(range, of: file.node) {
        switch L2Entry(rawValue: word).kind(clusterBits: geometry.clusterBits) {
        case .zeroPlain, .zeroAllocated: return true
        default: break
        }
      }
    }
    return false
  }
}
