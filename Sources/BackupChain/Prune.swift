public import BackupJob
public import BlockLayer
internal import Primitives
internal import SystemPackage

/// What a prune did.
public struct PruneReport: Sendable {
  /// The numbers of the backups that are gone.
  public var removed: [Int] = []
  /// The backup that became a full one so that those below it could go.
  public var made: Int?
}

/// Letting old backups go.
extension BackupChain {
  /// Keeps the newest `keep` backups; without a number, those of the newest segment.
  ///
  /// Where the oldest kept one is incremental, a full one takes its place first, which shows the
  /// same; so every backup that is kept can be restored at every moment. A kill leaves both, or
  /// files that the next run removes. Throws `invalidArgument` for less than 1.
  public func prune(
    keep: Int? = nil, onProgress: @escaping @Sendable (JobProgress) -> Bool = { _ in true }
  ) async throws(BlockError) -> PruneReport {
    guard keep ?? 1 > 0 else {
      throw BlockError(.invalidArgument, "at least one backup must be kept; write --keep 1 or more")
    }
    return try await locked { () async throws(BlockError) in
      var state = try await loadExisting()
      try removeLeftovers(state)
      let backups = state.manifest.backups
      var first = backups.lastIndex { $0.kind == .full } ?? 0
      if let keep { first = max(0, backups.count - keep) }
      guard first > 0, first < backups.count else {
        try await write(state.manifest)
        return PruneReport()
      }
      var report = PruneReport(removed: backups[..<first].map(\.number))
      if backups[first].kind == .incremental {
        _ = try find(backups[first].number, in: state)
        try await makeFull(first, in: &state.manifest, onProgress)
        report.made = backups[first].number
      }
      state.manifest.backups.removeFirst(first)
      try await write(state.manifest)
      for backup in backups[..<first].reversed() { try folder.remove(backup.file) }
      try folder.sync()
      return report
    }
  }

  /// Puts a full backup in the place of an incremental one.
  ///
  /// The manifest says so before: whichever of the two files has the name after a kill, it knows
  /// its digest.
  private func makeFull(
    _ index: Int, in manifest: inout Manifest,
    _ onProgress: @escaping @Sendable (JobProgress) -> Bool
  ) async throws(BlockError) {
    let backup = manifest.backups[index]
    let partial = Self.partialName(backup.number)
    let identity = TrackingName(chain: manifest.chain, number: backup.number, run: backup.run)
    var new = backup
    do throws(BlockError) {
      try await withBackup(backup.number) { source throws(BlockError) in
        try await makeFile(
          partial, size: source.length, clusterSize: source.clusterSize, backing: nil)
        try await withNode(
          folder.path.appending(partial), OpenOptions(format: "qcow2")
        ) { target throws(BlockError) in
          let spec = BackupSpec(
            source: .node(source), target: .node(target), sync: .full, jobID: "prune")
          new.copied = try await CopyRun(graph: graph, onProgress: onProgress).run(spec)
          try target.addIdentity(identity)
        }
      }
      try await takeDigest(of: partial, into: &new)
      manifest.backups[index].replacement = Manifest.Backup.Replacement(
        copied: new.copied, stored: new.stored, digest: new.digest)
      try await write(manifest)
      try folder.rename(partial, to: backup.file)
    } catch {
      discard(partial)
      throw error.prefixed("Backup \(backup.number) was not changed, and nothing was removed")
    }
    manifest.backups[index] = manifest.backups[index].replaced
  }
}
