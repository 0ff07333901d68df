internal import BlockLayer
internal import Execution
internal import Primitives
internal import Synchronization

/// Metadata found wrong by a writer.
extension Qcow2Driver {
  /// Ends writing, and marks the image as corrupt on disk, if `error` says that a writer found this
  /// image's own metadata wrong.
  ///
  /// Reads go on. The caller holds no lock.
  func noteCorruption(_ error: BlockError) async {
    guard isOwnCorruption(error) else { return }
    try? await commitLock.withLock { () async throws(BlockError) in
      try await markCorrupt(error)
    }
  }

  /// The same for who holds `commitLock`.
  func noteCorruptionLocked(_ error: BlockError) async {
    if isOwnCorruption(error) { try? await markCorrupt(error) }
  }

  /// Whether the error is of this image, and not of its backing file or of what it stands in.
  private func isOwnCorruption(_ error: BlockError) -> Bool {
    guard error.code == .corrupt, !isReadOnly else { return false }
    return error.node == nil || error.node == file.node.name
  }

  /// Sets the corrupt bit, durably; version 2 has none.
  private func markCorrupt(_ error: BlockError) async throws(BlockError) {
    let (header, isLost) = tables.withLock { tables in
      // After a failed flush nobody knows what is on disk: nothing at all is written.
      let isLost = tables.poison?.code == .poisoned
      _ = tables.end(error)
      return (tables.header.header, isLost)
    }
    guard !isLost, header.version == .v3, !header.isMarkedCorrupt else { return }
    try await patchHeader { cluster in
      cluster.header.incompatibleFeatures.insert(.corrupt)
      return .incompatibleFeatures
    }
  }
}
