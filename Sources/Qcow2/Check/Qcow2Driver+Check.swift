public import BlockLayer
internal import Execution
internal import Primitives
internal import Synchronization

extension Qcow2Driver: CheckableImage {
  /// Compares all references of the image with its refcounts, and much else that can be wrong
  /// with its structures; guest data is not read.
  ///
  /// A writable image is written back first, and writes that need metadata on disk wait until the
  /// check is done: so it can be checked while it is in use, where it then may have leaks that the
  /// next write-back frees. Nothing is read but the image's own file: not the backing file, not an
  /// external data file.
  ///
  /// Throws `invalidImage` or `unsupported` when the header cannot be used, and `cancelled`; all
  /// else is in the result. Time is linear in the size of the image's tables, memory some 3 bytes a
  /// cluster in use.
  public func check() async throws(BlockError) -> ImageCheck {
    try await check(limits: CheckLimits())
  }

  /// Checks within other limits than the usual ones.
  package func check(limits: CheckLimits) async throws(BlockError) -> ImageCheck {
    guard !isReadOnly else { return try await checkFile(limits) }
    for _ in 0..<4 where tables.withLock({ $0.isDirty }) { try await writeBack() }
    return try await commitLock.withLock { () async throws(BlockError) in
      try await checkFile(limits)
    }
  }

  /// Throws for an image that was opened for a check, whose mapping is not in memory.
  func checkServesGuest() throws(BlockError) {
    guard !isForCheck else {
      throw BlockError(
        .unsupported, "the image is open for a check only; open it again to read it")
    }
  }

  func checkFile(_ limits: CheckLimits) async throws(BlockError) -> ImageCheck {
    let node = file.node
    let cluster = try await Self.readHeader(of: node, for: .check)
    if let feature = cluster.unsupportedFeatures(for: .check).first { throw .unsupported(feature) }
    var walk = ConsistencyCheck(cluster, in: node, limits: limits)
    return try await walk.run()
  }
}
