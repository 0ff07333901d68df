public import BackupJob
public import BlockLayer
internal import DirtyBitmap
internal import Execution
internal import Primitives
internal import Qcow2
public import SystemPackage

/// How a backup is to be made.
public struct BackupRequest: Sendable {
  /// The disk's image: qcow2.
  public var disk: FilePath
  /// The granularity of the new bitmap in bytes; nil for the image's own.
  public var granularity: Int?
  /// Whether a full backup is wanted in any case.
  public var isFull = false
  /// The longest segment: after so many backups the next is full; nil for any.
  public var fullEvery: Int?
  /// Whether a disk that never belonged to the chain may join it.
  public var adopts = false
  /// Whether its file is compressed.
  public var compresses = false
  /// The most bytes a second; 0 for no limit.
  public var limit = 0
  /// Told now and then how far the run is, first with copying, then with reading back what was
  /// copied; answers whether to go on.
  public var onProgress: @Sendable (JobProgress) -> Bool = { _ in true }

  /// A backup of this disk.
  public init(disk: FilePath) { self.disk = disk }
}

/// What a run made.
public struct BackupReport: Sendable {
  /// The backup.
  public var backup: Manifest.Backup
  /// Its file.
  public var path: FilePath
  /// What was found out of order in the folder, and put right.
  public var notes: [String]
}

/// Making backups.
extension BackupChain {
  /// Backs up the disk: what was written since the last backup, or everything.
  ///
  /// The folder is made if it is not there. When this throws, the folder and the disk are as they
  /// were, or the next run finds out what was done; no change is lost. Throws `inUse` when another
  /// run is at work or somebody writes to the disk, `refused` for a disk of another chain,
  /// `noSpace`, `cancelled`, `io`.
  public func create(_ request: BackupRequest) async throws(BlockError) -> BackupReport {
    if (try? folder.names()) == nil {
      // No folder is made for a disk that is none.
      let options = OpenOptions(format: "qcow2", readOnly: true)
      try await withNode(request.disk, options) { _ in }
    }
    try folder.make()
    return try await locked { () async throws(BlockError) in
      var state = try await load() ?? newState()
      let place = FilePath(Self.place(of: request.disk)).removingLastComponent()
      guard !place.isSameFolder(as: folder.path) else {
        throw BlockError(
          .invalidArgument, "the disk '\(request.disk)' lies in the folder of its backups")
      }
      var options = OpenOptions(format: "qcow2")
      options.node.discard = .unmap
      // The bitmap of the last backup is as it was whatever happens: only step 6 takes it away.
      return try await withNode(request.disk, options) { disk throws(BlockError) in
        try await create(request, of: disk, &state)
      }
    }
  }

  private func newState() -> ChainState {
    ChainState(manifest: Manifest(chain: TrackingName.newIdentity(graph.world)))
  }

  private func create(
    _ request: BackupRequest, of disk: BlockNode, _ state: inout ChainState
  ) async throws(BlockError) -> BackupReport {
    let start = try await decide(request, disk, state)
    let number = (state.manifest.last?.number ?? -1) + 1
    let partial = Self.partialName(number)
    try folder.remove(partial)
    let name = TrackingName(
      chain: state.manifest.chain, number: number, run: TrackingName.newIdentity(graph.world))
    try await startTracking(name, request.granularity, on: disk)
    var backup = Manifest.Backup(
      number: number, kind: .full, run: name.run, size: disk.length,
      time: graph.world.secondsSince1970)
    do throws(BlockError) {
      switch start {
      case .full(let reason):
        backup.reason = reason
        backup.copied = try await copy(disk, to: partial, naming: name, request)
      case .incremental(let last):
        backup.kind = .incremental
        let sentinels = sentinels(of: last, on: disk, state)
        backup.copied = try await copyChanges(
          of: disk, since: last, sentinels, to: partial, naming: name, request)
      case .refused(let reason): throw BlockError(.refused, reason)
      }
      try await takeDigest(of: partial, into: &backup, request.onProgress)
    } catch {
      // Without its file nobody asks for the bitmap, and the next run would remove it.
      discard(partial)
      try? await disk.removeBitmap(name.text)
      if error.code == .cancelled { throw error }
      throw error.prefixed(notMade(number, error))
    }
    #if MUTANT_BITMAP_REMOVED_BEFORE_RENAME
    try await stopTracking(allBut: name, on: disk)
    #endif
    do throws(BlockError) {
      try folder.rename(partial, to: Self.fileName(number))
    } catch {
      // The name may be there after all: then the next run goes on from the new bitmap.
      discard(partial)
      throw error.prefixed(notMade(number, error))
    }
    state.manifest.backups.append(backup)
    state.manifest.disk = Manifest.Disk(path: Self.place(of: request.disk))
    do throws(BlockError) {
      try await write(state.manifest)
      try await stopTracking(allBut: name, on: disk)
    } catch {
      throw error.prefixed(
        "Backup \(number) is made, but the run did not end; mend the cause, and the next run will")
    }
    do throws(BlockError) {
      try await removeObsolete(state)
    } catch {
      state.notes.append(
        "older files, which the manifest does not list, are left: \(error.message)")
    }
    return BackupReport(backup: backup, path: path(number), notes: state.notes)
  }

  /// The disk's name, by which it is known again: from the root, without links.
  private static func place(of disk: FilePath) -> String { ((try? disk.resolved()) ?? disk).string }

  private func notMade(_ number: Int, _ error: BlockError) -> String {
    let advice =
      error.code == .noSpace ? "make room in '\(folder.path)'" : "mend the cause"
    return "Backup \(number) was not made, and nothing was lost; \(advice) and run it again"
  }

  // MARK: - What to do

  private func decide(
    _ request: BackupRequest, _ disk: BlockNode, _ state: ChainState
  ) async throws(BlockError) -> Decision {
    let manifest = state.manifest
    var facts = Decision.Facts()
    facts.last = manifest.last
    facts.bitmaps = disk.trackingBitmaps(of: manifest)
    facts.isKnownDisk = manifest.disk?.path == Self.place(of: request.disk)
    facts.wantsFull = request.isFull
    facts.adopts = request.adopts
    facts.fullEvery = request.fullEvery
    facts.maximumDepth = graph.policy.maxDepth
    if let last = manifest.last {
      facts.segmentLength = manifest.segment(upTo: last.number).count
      do throws(BlockError) {
        try await checkSegment(upTo: last.number, in: state)
      } catch {
        facts.lastIsUnusable = error.message
      }
    }
    let decision = Decision(facts)
    if case .refused(let reason) = decision { throw BlockError(.refused, reason) }
    return decision
  }

  // MARK: - The disk's bitmaps

  /// Stores a recording bitmap for what is written after the new backup, durably.
  ///
  /// Those that runs left which came to nothing go.
  private func startTracking(
    _ name: TrackingName, _ granularity: Int?, on disk: BlockNode
  ) async throws(BlockError) {
    do throws(BlockError) {
      for left in disk.trackingNames(of: name.chain) where left.number >= name.number {
        try await disk.removeBitmap(left.text)
      }
      try disk.addTrackingBitmap(name, granularity: granularity)
      try await graph.storeBitmaps(of: disk)
    } catch {
      throw error.prefixed(
        "Backup \(name.number) was not made: the image cannot take its bitmap")
    }
  }

  /// Removes this chain's bitmaps from the disk, but for one.
  ///
  /// Others' stay.
  private func stopTracking(
    allBut kept: TrackingName, on disk: BlockNode
  ) async throws(BlockError) {
    for name in disk.trackingNames(of: kept.chain) where name != kept {
      try await disk.removeBitmap(name.text)
    }
  }

  /// The granules that were marked in the bitmap of `last` from the start.
  private func sentinels(
    of last: TrackingName, on disk: BlockNode, _ state: ChainState
  ) -> Sentinels {
    let size = state.manifest.last?.size ?? 0
    let granularity = disk.bitmaps.find(last.text)?.granularity ?? 65536
    return Sentinels(run: last.run, size: size, granularity: granularity)
  }

  // MARK: - The copy

  /// Copies what has changed on the disk since `last` to a new file; answers how many bytes.
  private func copyChanges(
    of disk: BlockNode, since last: TrackingName, _ sentinels: Sentinels, to name: String,
    naming identity: TrackingName, _ request: BackupRequest
  ) async throws(BlockError) -> Int {
    let goesOn: @Sendable () -> Bool = {
      request.onProgress(JobProgress(current: 0, total: 0))
    }
    let changes = "\(identity.text).changes"
    let bitmap = try await withBackup(last.number) { node throws(BlockError) in
      var ranges = try ChangedRanges(disk, last.text, since: node, as: changes, while: goesOn)
      do throws(BlockError) {
        try await ranges.complete(sentinels)
      } catch {
        disk.bitmaps.drop(ranges.bitmap)
        throw error
      }
      return ranges.bitmap
    }
    defer { disk.bitmaps.drop(bitmap) }
    return try await copy(
      disk, to: name, changes: changes, backing: last, naming: identity, request)
  }

  /// Copies the disk, or what the bitmap `changes` marks, to a new file; answers how many bytes.
  ///
  /// The file is durable then, and names the bitmap that records on the disk since.
  private func copy(
    _ disk: BlockNode, to name: String, changes: String? = nil, backing last: TrackingName? = nil,
    naming identity: TrackingName, _ request: BackupRequest
  ) async throws(BlockError) -> Int {
    try await makeFile(name, size: disk.length, clusterSize: disk.clusterSize, backing: last)
    return try await withNode(
      folder.path.appending(name), OpenOptions(format: "qcow2")
    ) { target throws(BlockError) in
      // Whatever becomes of the file, the disk's bitmap keeps its bits until the backup has its
      // name.
      var spec = BackupSpec(
        source: .node(disk), target: .node(target), sync: changes == nil ? .full : .bitmap,
        bitmap: changes, bitmapMode: changes == nil ? nil : .never, jobID: "backup")
      spec.speed = request.limit
      spec.compresses = request.compresses
      let copied = try await CopyRun(graph: graph, onProgress: request.onProgress).run(spec)
      try target.addIdentity(identity)
      return copied
    }
  }

  /// Makes an empty image in the folder.
  func makeFile(
    _ name: String, size: Int, clusterSize: Int, backing: TrackingName?
  ) async throws(BlockError) {
    var options = NewImageOptions(virtualSize: size)
    options.clusterSize = max(clusterSize, 65536)
    if let backing {
      options.backingFileName = EmbeddedName(bytes: Array(Self.fileName(backing.number).utf8))
      options.backingFormat = EmbeddedName(bytes: Array("qcow2".utf8))
    }
    let file = try graph.addNode(try folder.create(name))
    do throws(BlockError) {
      try await Qcow2Driver.create(options, in: file)
    } catch {
      try? await graph.close(file)
      throw error.prefixed("Could not create '\(folder.path.appending(name))'")
    }
    try await graph.close(file)
  }

  /// Reads back what a file has itself, and notes its digest.
  func takeDigest(
    of name: String, into backup: inout Manifest.Backup,
    _ onProgress: @escaping @Sendable (JobProgress) -> Bool
  ) async throws(BlockError) {
    let options = OpenOptions(format: "qcow2", readOnly: true, backing: .ignore)
    let digest = try await withNode(folder.path.appending(name), options) {
      (node) throws(BlockError) in
      try await LayerDigest.of(node) { onProgress(JobProgress(current: $0, total: $1)) }
    }
    backup.digest = digest.text
    backup.stored = digest.dataByteCount
  }
}

extension BlockNode {
  /// Names the bitmap that records on the disk since this backup, by an empty one of that name.
  func addIdentity(_ name: TrackingName) throws(BlockError) {
    let coarsest = 1 << FormatLimits.maximumGranularityBits
    try addBitmap(name.text, granularity: coarsest, persistent: true, disabled: true)
  }
}
