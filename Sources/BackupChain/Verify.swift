public import BlockLayer
internal import DirtyBitmap
internal import Primitives
public import SystemPackage

/// What a look at a chain found.
public struct VerifyReport: Sendable {
  /// What was found about one backup.
  public struct Entry: Sendable {
    /// The backup, as the manifest has it.
    public var backup: Manifest.Backup
    /// What is wrong with it; each a sentence.
    public var problems: [String] = []
    /// The digest of what the file holds; nil when it could not be read.
    public var digest: String?
    /// The bytes of data that it holds; nil when it could not be read.
    public var stored: Int?
    /// Whether the manifest has a digest to compare with.
    public var isProven: Bool { backup.digest != nil }
  }

  /// The backups, in order.
  public var entries: [Entry] = []
  /// What was out of order in the folder.
  public var notes: [String] = []
  /// How the disk compares with the last backup; nil when none was asked for.
  public var disk: DiskComparison?

  /// How a disk compares with the last backup.
  public struct DiskComparison: Sendable {
    /// The bytes that the bitmap marks as changed since.
    public var marked: Int
    /// The disk's size in bytes.
    public var size: Int
    /// Its size when the last backup was made.
    public var was: Int
    /// The first byte that differs although nothing marks it; nil when there is none.
    public var firstDifference: Int?
    /// Why the comparison says nothing of what has changed, if so: the next backup will be full.
    public var withoutBitmap: String?
  }

  /// Whether nothing is wrong.
  public var isSound: Bool {
    entries.allSatisfy(\.problems.isEmpty) && disk?.firstDifference == nil
  }
}

/// Looking whether backups are what they should be.
extension BackupChain {
  /// Checks every backup: its file is there and is the one that the manifest means; its metadata
  /// is consistent; what it holds has the digest that was taken when it was made; and it stands on
  /// the right one.
  ///
  /// With `disk`, also compares what the last backup shows with the disk, but for what the disk's
  /// bitmap marks as changed since. Nothing is written. `onProgress` is told how many bytes of how
  /// many are done, and answers whether to go on.
  public func verify(
    against disk: FilePath? = nil,
    onProgress: @escaping @Sendable (Int, Int) -> Bool = { _, _ in true }
  ) async throws(BlockError) -> VerifyReport {
    let state = try await loadExisting()
    return try await verify(state, against: disk, onProgress)
  }

  /// `verify`, and notes the digests of backups that have none on record and nothing wrong: those
  /// of a manifest that was rebuilt.
  public func verifyAndRecord(
    against disk: FilePath? = nil,
    onProgress: @escaping @Sendable (Int, Int) -> Bool = { _, _ in true }
  ) async throws(BlockError) -> VerifyReport {
    try await locked { () async throws(BlockError) in
      var state = try await loadExisting()
      let report = try await verify(state, against: disk, onProgress)
      for (index, entry) in report.entries.enumerated()
      where entry.backup.digest == nil && entry.problems.isEmpty {
        state.manifest.backups[index].digest = entry.digest
        state.manifest.backups[index].stored = entry.stored
      }
      try await write(state.manifest)
      return report
    }
  }

  private func verify(
    _ state: ChainState, against disk: FilePath?,
    _ onProgress: @escaping @Sendable (Int, Int) -> Bool
  ) async throws(BlockError) -> VerifyReport {
    var report = VerifyReport(notes: state.notes)
    let backups = state.manifest.backups
    // Each is at most 64 PiB; a hundred of them are as good as all.
    let total = backups.reduce(0) { min($0, 100 * ChainLimits.maximumByteCount) + weight($1) }
    var done = 0
    for (index, backup) in backups.enumerated() {
      guard onProgress(done, total) else {
        throw BlockError(.cancelled, "the check was cancelled")
      }
      done = min(done, 100 * ChainLimits.maximumByteCount) + weight(backup)
      let below = index > 0 ? backups[index - 1] : nil
      let start = done - weight(backup)
      let entry = try await verify(backup, below: below, in: state) { part, _ in
        onProgress(min(start + part, total), total)
      }
      report.entries.append(entry)
    }
    _ = onProgress(total, total)
    if let disk {
      report.disk = try await compare(disk, state) { onProgress(total, total) }
    }
    return report
  }

  /// The bytes that looking at a backup is reckoned as.
  private func weight(_ backup: Manifest.Backup) -> Int { backup.stored ?? backup.size }

  private func verify(
    _ backup: Manifest.Backup, below: Manifest.Backup?, in state: ChainState,
    _ onProgress: @escaping @Sendable (Int, Int) -> Bool
  ) async throws(BlockError) -> VerifyReport.Entry {
    var entry = VerifyReport.Entry(backup: backup)
    if state.missing.contains(backup.number) {
      entry.problems.append("its file '\(backup.file)' is missing")
      return entry
    }
    do throws(BlockError) {
      try await withBackup(backup.number, alone: true) { node throws(BlockError) in
        if let problem = mismatch(node, backup, state.manifest.chain) {
          entry.problems.append(problem)
        }
        checkLink(node, backup, below, &entry)
        try await checkImage(node, &entry)
        let digest = try await LayerDigest.of(node, onProgress: onProgress)
        entry.digest = digest.text
        entry.stored = digest.dataByteCount
      }
      if let digest = backup.digest, digest != entry.digest {
        entry.problems.append("its contents changed since it was made: the digests differ")
      }
    } catch {
      if error.code == .cancelled { throw error }
      entry.problems.append("it cannot be read: \(error.message)")
    }
    return entry
  }

  private func checkLink(
    _ node: BlockNode, _ backup: Manifest.Backup, _ below: Manifest.Backup?,
    _ entry: inout VerifyReport.Entry
  ) {
    guard backup.kind == .incremental,
      let recorded = (node.driver as? any BackingFileImage)?.recordedBacking
    else { return }
    guard let below else {
      entry.problems.append("the backup that it stands on is not in the chain")
      return
    }
    if recorded.name != below.file || recorded.format != "qcow2" {
      entry.problems.append("it stands on '\(recorded.name)', not on '\(below.file)'")
    }
  }

  private func checkImage(
    _ node: BlockNode, _ entry: inout VerifyReport.Entry
  ) async throws(BlockError) {
    guard let image = node.driver as? any CheckableImage else { return }
    let check = try await image.check()
    for finding in check.findings.prefix(3) { entry.problems.append(finding.message) }
    if check.findings.count > 3 {
      entry.problems.append("and \(check.findings.count - 3) findings more")
    }
  }

  // MARK: - Against the disk

  private func compare(
    _ path: FilePath, _ state: ChainState, while goesOn: () -> Bool
  ) async throws(BlockError) -> VerifyReport.DiskComparison? {
    guard let last = state.manifest.last else { return nil }
    try await checkSegment(upTo: last.number, in: state)
    let options = OpenOptions(format: "qcow2", readOnly: true)
    return try await withNode(path, options) { disk throws(BlockError) in
      try await withBackup(last.number) { backup throws(BlockError) in
        var facts = Decision.Facts()
        facts.last = last
        facts.bitmaps = disk.trackingBitmaps(of: state.manifest)
        var comparison = VerifyReport.DiskComparison(marked: 0, size: disk.length, was: last.size)
        var clean = [ByteRange(0, disk.length)]
        switch Decision(facts) {
        case .incremental(let name):
          let bitmap = try disk.bitmaps.named(name.text)
          clean = bitmap.withBits { $0.clearRuns() }
          comparison.marked = disk.length - clean.reduce(0) { $0 + $1.count }
          let sentinels = Sentinels(
            run: last.run, size: last.size, granularity: bitmap.granularity)
          comparison.marked -= try await unchanged(sentinels, disk, backup)
        case .full(let reason), .refused(let reason): comparison.withoutBitmap = reason
        }
        comparison.firstDifference = try await firstDifference(disk, backup, in: clean, goesOn)
        return comparison
      }
    }
  }

  /// The bytes of those sentinels that are as they were: they are marked all the same.
  private func unchanged(
    _ sentinels: Sentinels, _ disk: BlockNode, _ backup: BlockNode
  ) async throws(BlockError) -> Int {
    var pieces = PieceComparison()
    var sum = 0
    for range in sentinels.ranges where range.upper <= min(disk.length, backup.length) {
      if try await pieces.firstDifference(disk, backup, in: range) == nil { sum += range.count }
    }
    return sum
  }

  private func firstDifference(
    _ disk: BlockNode, _ backup: BlockNode, in ranges: [ByteRange], _ goesOn: () -> Bool
  ) async throws(BlockError) -> Int? {
    var pieces = PieceComparison()
    for range in ranges {
      var pairs = StatusPairs(disk, backup, in: range)
      while let (run, isZero, wasZero) = try await pairs.next() {
        guard !isZero || !wasZero else { continue }
        var rest = run
        while !rest.isEmpty {
          guard goesOn() else { throw BlockError(.cancelled, "the check was cancelled") }
          let piece = rest.prefix(64 << 20)
          let offset = try await pieces.firstDifference(disk, backup, in: piece)
          if let offset { return offset }
          rest = rest.dropFirst(piece.count)
        }
      }
    }
    return nil
  }
}

extension HierarchicalBitmap {
  /// The runs of clear granules, from low to high.
  fileprivate func clearRuns() -> [ByteRange] {
    var runs: [ByteRange] = []
    var rest = bounds
    while let run = nextClearRun(in: rest) {
      runs.append(run)
      rest = ByteRange(run.upper, rest.upper)
    }
    return runs
  }
}
