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
    against disk: FilePath? = nil, onProgress: (Int, Int) -> Bool = { _, _ in true }
  ) async throws(BlockError) -> VerifyReport {
    let state = try await loadExisting()
    return try await verify(state, against: disk, onProgress)
  }

  /// `verify`, and notes the digests of backups that have none on record and nothing wrong: those
  /// of a manifest that was rebuilt.
  public func verifyAndRecord(
    against disk: FilePath? = nil, onProgress: (Int, Int) -> Bool = { _, _ in true }
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
    _ state: ChainState, against disk: FilePath?, _ onProgress: (Int, Int) -> Bool
  ) async throws(BlockError) -> VerifyReport {
    var report = VerifyReport(notes: state.notes)
    let backups = state.manifest.backups
    let total = backups.reduce(0) { $0 + ($1.stored ?? $1.size) }
    var done = 0
    for (index, backup) in backups.enumerated() {
      guard onProgress(done, total) else {
        throw BlockError(.cancelled, "the check was cancelled")
      }
      done += backup.stored ?? backup.size
      let below = index > 0 ? backups[index - 1] : nil
      report.entries.append(await verify(backup, below: below, in: state))
    }
    _ = onProgress(total, total)
    if let disk { report.disk = try await compare(disk, state) }
    return report
  }

  private func verify(
    _ backup: Manifest.Backup, below: Manifest.Backup?, in state: ChainState
  ) async -> VerifyReport.Entry {
    var entry = VerifyReport.Entry(backup: backup)
    if state.missing.contains(backup.number) {
      entry.problems.append("its file '\(backup.file)' is missing")
      return entry
    }
    do throws(BlockError) {
      try await withBackup(backup.number, alone: true) { node throws(BlockError) in
        checkIdentity(node, backup, state.manifest.chain, &entry)
        checkLink(node, backup, below, &entry)
        try await checkImage(node, &entry)
        let digest = try await LayerDigest.of(node)
        entry.digest = digest.text
        entry.stored = digest.dataByteCount
      }
      if let digest = backup.digest, digest != entry.digest {
        entry.problems.append("its contents changed since it was made: the digests differ")
      }
    } catch {
      entry.problems.append("it cannot be read: \(error.message)")
    }
    return entry
  }

  private func checkIdentity(
    _ node: BlockNode, _ backup: Manifest.Backup, _ chain: String,
    _ entry: inout VerifyReport.Entry
  ) {
    let name = TrackingName(chain: chain, number: backup.number, run: backup.run)
    if node.ownTrackingName != name {
      entry.problems.append("its file is another backup's: it does not name '\(name.text)'")
    }
    if node.length != backup.size {
      entry.problems.append("it is \(node.length) bytes long, not \(backup.size)")
    }
  }

  private func checkLink(
    _ node: BlockNode, _ backup: Manifest.Backup, _ below: Manifest.Backup?,
    _ entry: inout VerifyReport.Entry
  ) {
    let recorded = (node.driver as? any BackingFileImage)?.recordedBacking
    let expected = backup.kind == .full ? nil : below?.file
    if backup.kind == .incremental, expected == nil {
      entry.problems.append("the backup that it stands on is not in the chain")
    } else if recorded?.name != expected || recorded.map({ $0.format == "qcow2" }) == false {
      let names = [recorded?.name, expected].map { $0.map { "'\($0)'" } ?? "no file" }
      entry.problems.append("it stands on \(names[0]), not on \(names[1])")
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
    _ path: FilePath, _ state: ChainState
  ) async throws(BlockError) -> VerifyReport.DiskComparison? {
    guard let last = state.manifest.last else { return nil }
    let number = try find(nil, in: state)
    let options = OpenOptions(format: "qcow2", readOnly: true)
    return try await withNode(path, options) { disk throws(BlockError) in
      try await withBackup(number) { backup throws(BlockError) in
        var facts = Decision.Facts()
        facts.last = last
        facts.bitmaps = disk.trackingBitmaps(of: state.manifest.chain)
        var comparison = VerifyReport.DiskComparison(marked: 0)
        var clean = [ByteRange(0, disk.length)]
        switch Decision(facts) {
        case .incremental(let name):
          let bitmap = try disk.bitmaps.named(name.text)
          clean = bitmap.withBits { $0.clearRuns() }
          comparison.marked = disk.length - clean.reduce(0) { $0 + $1.count }
        case .full(let reason), .refused(let reason): comparison.withoutBitmap = reason
        }
        comparison.firstDifference = try await firstDifference(disk, backup, in: clean)
        return comparison
      }
    }
  }

  private func firstDifference(
    _ disk: BlockNode, _ backup: BlockNode, in ranges: [ByteRange]
  ) async throws(BlockError) -> Int? {
    var one = IOBuffer(byteCount: 1 << 20)
    var other = IOBuffer(byteCount: 1 << 20)
    for range in ranges {
      var rest = range
      while !rest.isEmpty {
        let here = try await disk.chainStatus(rest)
        var piece = rest.prefix(here.count)
        if piece.lower < backup.length {
          piece = piece.intersection(ByteRange(0, backup.length))
          let there = try await backup.chainStatus(piece)
          piece = piece.prefix(there.count)
          if here.status.isZero, there.status.isZero {
            rest = rest.dropFirst(piece.count)
            continue
          }
        } else if here.status.isZero {
          rest = rest.dropFirst(piece.count)
          continue
        }
        piece = piece.prefix(1 << 20)
        let window = ByteRange(0, piece.count)
        var oneBytes = one.mutableBytes
        var otherBytes = other.mutableBytes
        var onePart = oneBytes.slice(window)
        var otherPart = otherBytes.slice(window)
        try await disk.read(piece, into: &onePart)
        if piece.upper <= backup.length {
          try await backup.read(piece, into: &otherPart)
        } else {
          otherPart.fill(window, with: 0)
        }
        if let offset = onePart.bytes.firstDifference(from: otherPart.bytes) {
          return piece.lower + offset
        }
        rest = rest.dropFirst(piece.count)
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
