internal import BlockLayer
internal import Primitives
internal import SystemPackage

/// What a backup consists of: its own file and those that it stands on.
extension BackupChain {
  /// Throws when a file that backup `number` consists of is not there or is not the one that the
  /// manifest means.
  func checkSegment(upTo number: Int, in state: ChainState) async throws(BlockError) {
    try await check(state.manifest.segment(upTo: number), in: state)
  }

  /// Throws when the first of `backups` does not stand alone, or a file of them is not there or is
  /// not the one that the manifest means: each is opened by itself and asked who it is.
  ///
  /// All chains have files of the same names: what was brought back may be another's.
  func check(
    _ backups: ArraySlice<Manifest.Backup>, in state: ChainState
  ) async throws(BlockError) {
    if let first = backups.first, first.kind != .full {
      throw BlockError(
        .notFound,
        "backup \(first.number) stands on one that is not in the folder; bring its file back")
    }
    for backup in backups {
      if state.missing.contains(backup.number) {
        throw BlockError(
          .notFound,
          "the file '\(backup.file)' of backup \(backup.number) is missing; bring it back")
      }
      do throws(BlockError) {
        try await withBackup(backup.number, alone: true) { node throws(BlockError) in
          if let problem = mismatch(node, backup, state.manifest.chain) {
            throw BlockError(.invalidImage, problem)
          }
        }
      } catch {
        throw error.prefixed("backup \(backup.number) cannot be used; bring its file back")
      }
    }
  }

  /// How a backup's file is not what the manifest says; nil when it is.
  func mismatch(_ node: BlockNode, _ backup: Manifest.Backup, _ chain: String) -> String? {
    let name = TrackingName(chain: chain, number: backup.number, run: backup.run)
    if node.ownTrackingName != name {
      return "its file is another backup's: it does not name '\(name.text)'"
    }
    if node.length != backup.size {
      return "it is \(node.length) bytes long, not \(backup.size)"
    }
    let recorded = (node.driver as? any BackingFileImage)?.recordedBacking
    if (recorded == nil) != (backup.kind == .full) {
      return recorded == nil ? "it stands on no file, but should" : "it stands on a file"
    }
    return nil
  }

  /// Removes the files of older backups that a prune has taken from the manifest, but only if the
  /// backups that it kept are there, and only those of this chain.
  ///
  /// A manifest that was brought back from elsewhere must not cost a backup.
  func removeObsolete(_ state: ChainState) async throws(BlockError) {
    guard let first = state.manifest.backups.first?.number else { return }
    let obsolete = try folder.names().compactMap(Self.number).filter { $0 < first }
    guard !obsolete.isEmpty else { return }
    try await check(state.manifest.backups[...], in: state)
    for number in obsolete.reversed() {
      guard let name = try? await identity(number)?.name,
        name.chain == state.manifest.chain, name.number == number
      else { continue }
      try folder.remove(Self.fileName(number))
    }
    try folder.sync()
  }
}
