internal import BlockLayer
internal import Execution
internal import Primitives
internal import Synchronization

/// Changes of the header on disk.
extension Qcow2Driver {
  /// Changes one group of fields by one small write, atomic on any disk, and makes it durable.
  ///
  /// The caller holds `commitLock`.
  func patchHeader(
    _ change: (inout HeaderCluster) -> HeaderFieldGroup
  ) async throws(BlockError) {
    var cluster = tables.withLock { $0.header }
    let group = change(&cluster)
    let bytes = cluster.header.patch(group)
    try await writeHeader(bytes, at: group.range.lower)
    tables.withLock { $0.header = cluster }
  }

  /// Replaces the header, its extensions and the backing file's name: after a crash the old ones
  /// hold, or the new.
  ///
  /// The caller holds `commitLock`.
  func rewriteHeader(_ change: (inout HeaderCluster) -> Void) async throws(BlockError) {
    var cluster = tables.withLock { $0.header }
    change(&cluster)
    let node = file.node
    var buffer = IOBuffer(byteCount: geometry.clusterSize)
    var old = buffer.mutableBytes
    try await node.read(ByteRange(0, old.byteCount), into: &old)
    let plan: HeaderRewrite
    do { plan = try cluster.rewrite(replacing: old.bytes) } catch { throw BlockError(error) }
    // What is changed on disk before must be there before the header tells of it.
    try await flushFile()
    for step in plan.steps {
      try await writeHeader(step.bytes, at: step.offset.value)
    }
    tables.withLock { $0.header = cluster }
  }

  /// Writes a piece of the header, and makes it durable.
  ///
  /// When that fails nobody knows which header is on disk, and so which clusters it names: no write
  /// is allowed any more, and what either header may name is not reused.
  private func writeHeader(_ bytes: [UInt8], at offset: Int) async throws(BlockError) {
    do throws(BlockError) {
      try await file.node.write(
        ByteRange(offset: offset, count: bytes.count), from: bytes.span.bytes)
    } catch {
      poison("writing the header failed", error)
      throw error
    }
    try await flushFile()
  }

  // MARK: - Before the first change

  /// What must be true on disk before anything is changed: unknown autoclear bits are clear, and
  /// bitmaps are marked in use, durably.
  ///
  /// Done once, by the first change and not by opening.
  func prepareForChanges() async throws(BlockError) {
    if isPrepared.load(ordering: .acquiring) {
      try checkNotPoisoned()
      try await writeBackIfLarge()
      return
    }
    try await preparation.withLock { () async throws(BlockError) in
      if isPrepared.load(ordering: .acquiring) { return }
      try await prepareHeaderLocked()
      // Under one lock with `storeBitmaps`, which makes the claim void.
      try await commitLock.withLock { () async throws(BlockError) in
        #if !MUTANT_IN_USE_AFTER_WRITE
        try await claimBitmaps()
        #endif
        isPrepared.store(true, ordering: .releasing)
      }
    }
    #if MUTANT_IN_USE_AFTER_WRITE
    bitmapClaimIsDue.store(true, ordering: .releasing)
    #endif
  }

  /// Makes the header ready for changes of the image that leave its data as it is: bitmaps are not
  /// claimed.
  func prepareHeader() async throws(BlockError) {
    try await preparation.withLock { () async throws(BlockError) in try await prepareHeaderLocked()
    }
  }

  private func prepareHeaderLocked() async throws(BlockError) {
    guard !isReadOnly else { throw BlockError(.readOnly, "the image is open read-only") }
    try checkNotPoisoned()
    if tables.withLock({ $0.isHeaderReady }) { return }
    let snapshots = try await storedSnapshots()
    tables.withLock { tables in
      tables.collectMetadataClusters()
      tables.collectMetadataClusters(of: snapshots)
    }
    try await commitLock.withLock { () async throws(BlockError) in
      try await clearUnknownFeatures()
    }
    tables.withLock { $0.isHeaderReady = true }
  }

  private func clearUnknownFeatures() async throws(BlockError) {
    let header = tables.withLock { $0.header }
    guard header.header.version == .v3 else {
      // Without feature words a bitmaps extension is always stale: it goes.
      if header.extensions.bitmapsDefect != nil {
        try await rewriteHeader { $0.extensions.bitmapsDefect = nil }
      }
      return
    }
    if header.extensions.bitmapsDefect != nil {
      try await rewriteHeader { cluster in
        cluster.header.autoclearFeatures.formIntersection(.rawExternalData)
        cluster.extensions.bitmapsDefect = nil
      }
    } else {
      var kept = header.header.autoclearFeatures.intersection(.rawExternalData)
      if header.extensions.bitmaps != nil { kept.insert(.bitmaps) }
      guard header.header.autoclearFeatures != kept else { return }
      try await patchHeader { cluster in
        cluster.header.autoclearFeatures = kept
        return .autoclearFeatures
      }
    }
  }
}
