internal import BlockLayer
internal import Execution
internal import Primitives
internal import Synchronization

/// Changing an image's properties, but for its size and the way back to version 2.
extension Qcow2Driver {
  /// Throws, with QEMU's texts, for what cannot be changed.
  func checkAmendable(_ options: AmendOptions) throws(BlockError) {
    let header = tables.withLock { $0.header.header }
    func refuse(_ text: String) -> BlockError { BlockError(.invalidArgument, text) }
    let target = options.version ?? header.version
    let hasDataFile = header.incompatibleFeatures.contains(.externalDataFile)
    guard options.dataFileName == nil || hasDataFile else {
      throw refuse("data-file can only be set for images that use an external data file")
    }
    let isRaw = header.autoclearFeatures.contains(.rawExternalData)
    guard options.isDataFileRaw != true || isRaw else {
      throw refuse("data-file-raw cannot be set on existing images")
    }
    if let bits = options.refcountBits {
      guard bits.isPowerOfTwo, bits <= 64 else {
        throw refuse("Refcount width must be a power of two and may not exceed 64 bits")
      }
      guard bits == 16 || bits == refcountBits || target == .v3 else {
        throw refuse(
          "Refcount widths other than 16 bits require compatibility level 1.1 or above "
            + "(use compat=1.1 or greater)")
      }
    }
    if let backing = options.statedBacking {
      guard backing.name == recordedBacking?.name, backing.format == recordedBacking?.format else {
        throw refuse("Cannot amend the backing file")
      }
    }
    guard options.hasLazyRefcounts != true || target == .v3 else {
      throw refuse(
        "Lazy refcounts only supported with compatibility level 1.1 and above "
          + "(use compat=1.1 or greater)")
    }
    try checkFits(options)
    if let size = options.virtualSize {
      try checkResizable(to: size)
      guard size >= length else {
        throw refuse("Amending does not shrink an image: resize it, and allow shrinking")
      }
    }
  }

  /// Throws when the header's cluster has no room for what the options add to it.
  private func checkFits(_ options: AmendOptions) throws(BlockError) {
    guard options.version == .v3 || options.dataFileName != nil else { return }
    var cluster = tables.withLock { $0.header }
    if options.version == .v3 { cluster.header.version = .v3 }
    if let name = options.dataFileName { cluster.extensions.dataFileName = name }
    do { _ = try cluster.serialize() } catch { throw BlockError(error) }
  }

  /// Makes the changes of `options`, which were checked, but for the size and a downgrade.
  func amendProperties(_ options: AmendOptions) async throws(BlockError) {
    if options.version == .v3, version == .v2 { try await upgrade() }
    if let bits = options.refcountBits, bits != refcountBits {
      try await changeRefcountWidth(order: bits.exponentOfTwo)
    }
    if let name = options.dataFileName {
      try await changeHeader { $0.extensions.dataFileName = name }
    }
    if options.isDataFileRaw == false {
      try await changeFields(.autoclearFeatures) {
        $0.header.autoclearFeatures.remove(.rawExternalData)
      }
    }
    if let isLazy = options.hasLazyRefcounts, version == .v3 {
      try await changeFields(.compatibleFeatures) { cluster in
        if isLazy {
          cluster.header.compatibleFeatures.insert(.lazyRefcounts)
        } else {
          cluster.header.compatibleFeatures.remove(.lazyRefcounts)
        }
      }
    }
  }

  private var refcountBits: Int { tables.withLock { $0.geometry.refcountBits } }

  /// Changes one group of fields, if there is a change.
  private func changeFields(
    _ group: HeaderFieldGroup, _ change: @Sendable (inout HeaderCluster) -> Void
  ) async throws(BlockError) {
    var changed = tables.withLock { $0.header }
    change(&changed)
    guard changed != tables.withLock({ $0.header }) else { return }
    try await prepareHeader()
    try await commitLock.withLock { () async throws(BlockError) in
      try await patchHeader { cluster in
        change(&cluster)
        return group
      }
    }
  }

  /// Changes the header as a whole.
  private func changeHeader(
    _ change: @Sendable (inout HeaderCluster) -> Void
  ) async throws(BlockError) {
    try await prepareHeader()
    try await commitLock.withLock { () async throws(BlockError) in try await rewriteHeader(change) }
  }

  // MARK: - Version 3

  /// Makes an image of version 3 of one of version 2.
  private func upgrade() async throws(BlockError) {
    try await prepareHeader()
    let snapshots = try await storedSnapshots()
    if !snapshots.entries.allSatisfy(\.hasRequiredExtraData) {
      try await rewriteSnapshotTable(snapshots)
    }
    try await changeHeader { cluster in
      cluster.header.version = .v3
      if cluster.header.clusterSize > 4096 {
        cluster.extensions.featureNames = FeatureName.standard
      }
    }
  }

  /// Writes the snapshot table anew, with what version 3 demands of it.
  private func rewriteSnapshotTable(_ old: StoredSnapshots) async throws(BlockError) {
    // Memory has to know what the disk says then, and what a later change of the size leaves.
    let size = UInt64(length)
    let entries = old.entries.map { entry in
      var entry = entry
      entry.diskByteCount = entry.diskByteCount ?? size
      return entry
    }
    try await commitLock.withLock { () async throws(BlockError) in
      let new = try await writeSnapshotTable(entries)
      try await makeDurable()
      try await switchSnapshots(to: new)
      try await releaseClusters(old.range)
      try await makeDurable()
    }
  }
}
