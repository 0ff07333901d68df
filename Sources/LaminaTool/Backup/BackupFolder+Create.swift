internal import BackupJob
internal import BlockLayer
internal import DirtyBitmap
internal import Lamina
internal import Primitives
internal import Qcow2
internal import SystemPackage

/// What a run made.
struct BackupReport: Sendable {
  /// The backup's number.
  var number: Int
  /// Why it is a full one; nil for an incremental one.
  var fullReason: String?
  /// The bytes that were copied.
  var copiedBytes: Int
  /// The file.
  var path: FilePath
}

/// How a backup is to be made.
struct BackupRequest: Sendable {
  /// The disk's image.
  var disk: FilePath
  /// The granularity of new bitmaps in bytes; nil for the image's own.
  var granularity: Int?
  /// Whether a full backup is wanted in any case.
  var isFull = false
  /// The most bytes a second; 0 for no limit.
  var limit = 0
  /// Told now and then how far the job is; answers whether to go on.
  var onProgress: @Sendable (JobProgress) -> Bool = { _ in true }
}

/// Making backups.
extension BackupFolder {
  /// Backs up the disk: what was written since the folder's last backup, or everything.
  func create(_ request: BackupRequest) async throws(BlockError) -> BackupReport {
    try await locked { () async throws(BlockError) in
      var options = OpenOptions(format: "qcow2")
      options.node.discard = .unmap
      let disk = try await graph.open(request.disk, options)
      do throws(BlockError) {
        let report = try await create(request, of: disk)
        try await graph.close(disk)
        return report
      } catch {
        // The bitmap of the last backup is as it was: nothing but step 5 takes from it.
        try? await graph.close(disk)
        throw error
      }
    }
  }

  private func create(
    _ request: BackupRequest, of disk: BlockNode
  ) async throws(BlockError) -> BackupReport {
    let last = try numbers().last
    let number = (last ?? -1) + 1
    let start = try await start(request, last, disk)
    let partial = ".\(Self.fileName(number)).partial"
    folder.remove(partial)
    let name = try await addBitmap(number, request.granularity, to: disk)
    let target = folder.path.appending(partial)
    let copied: Int
    do throws(BlockError) {
      try await createTarget(target, disk, backing: start.bitmap == nil ? nil : last)
      copied = try await copy(disk, to: target, from: start.bitmap, naming: name, request)
      #if MUTANT_BITMAP_REMOVED_BEFORE_RENAME
      try await removeBitmaps(otherThan: name, from: disk)
      #endif
      try folder.rename(partial, to: Self.fileName(number))
    } catch {
      folder.remove(partial)
      if error.code == .cancelled { throw error }
      throw error.prefixed(
        "Backup \(number) was not made, and nothing was lost; "
          + (error.code == .noSpace ? "make room in '\(folder.path)'" : "mend the cause")
          + " and run it again")
    }
    try await removeBitmaps(otherThan: name, from: disk)
    return BackupReport(
      number: number, fullReason: start.fullReason, copiedBytes: copied, path: path(number))
  }

  /// What a backup starts from: the bitmap that has recorded since the last one, or nothing, for
  /// this reason.
  private struct Start {
    var bitmap: String?
    var fullReason: String?

    static func full(_ reason: String) -> Start { Start(fullReason: reason) }
  }

  private func start(
    _ request: BackupRequest, _ last: Int?, _ disk: BlockNode
  ) async throws(BlockError) -> Start {
    guard let last else { return .full("the folder has no backup yet") }
    if request.isFull { return .full("a full backup was asked for") }
    let node: BlockNode
    do throws(BlockError) { node = try await open(last) } catch {
      return .full("backup \(last) cannot be opened (\(error.message))")
    }
    let length = node.length
    let files = sequence(first: node, next: \.backing).reduce(0) { count, _ in count + 1 }
    let name = node.bitmaps.all.lazy.compactMap(\.name).first { $0.hasPrefix(bitmapPrefix(last)) }
    try await graph.close(node)
    guard length == disk.length else {
      return .full(
        "the disk has another size than backup \(last) (\(disk.length) and \(length) bytes)")
    }
    guard files < graph.policy.maxDepth else {
      return .full("\(files) backups stand on each other: more could not be opened together")
    }
    guard let name else { return .full("backup \(last) does not name the bitmap to go on from") }
    return start(from: name, disk)
  }

  private func start(from name: String, _ disk: BlockNode) -> Start {
    guard let bitmap = disk.bitmaps.find(name) else {
      return .full("the disk has no bitmap '\(name)': it was removed, or the disk is another one")
    }
    if bitmap.isInconsistent {
      return .full(
        "the bitmap '\(name)' is inconsistent: the disk was not closed by its last writer")
    }
    guard bitmap.isEnabled else {
      return .full("the bitmap '\(name)' is disabled: writes since then may be missing in it")
    }
    return Start(bitmap: name)
  }

  /// Stores an empty, recording bitmap for what is written after backup `number`, durably.
  ///
  /// Those that runs left which came to nothing go.
  private func addBitmap(
    _ number: Int, _ granularity: Int?, to disk: BlockNode
  ) async throws(BlockError) -> String {
    for name in disk.bitmaps.all.compactMap(\.name) where name.hasPrefix(bitmapPrefix(number)) {
      try await disk.removeBitmap(name)
    }
    let name = bitmapPrefix(number) + Self.newIdentity(graph.world)
    try disk.addBitmap(name, granularity: granularity, persistent: true)
    try await graph.storeBitmaps(of: disk)
    return name
  }

  private func createTarget(
    _ path: FilePath, _ disk: BlockNode, backing number: Int?
  ) async throws(BlockError) {
    var options = NewImageOptions(virtualSize: disk.length)
    options.clusterSize = max(disk.clusterSize, 65536)
    if let number {
      options.backingFileName = EmbeddedName(bytes: Array(Self.fileName(number).utf8))
      options.backingFormat = EmbeddedName(bytes: Array("qcow2".utf8))
    }
    try await graph.createQcow2(at: path, options)
  }

  /// Runs the job, and answers how many bytes it copied.
  ///
  /// The target is durable then, and names the bitmap that records on the disk since: by an empty
  /// one of that name.
  private func copy(
    _ disk: BlockNode, to path: FilePath, from bitmap: String?, naming name: String,
    _ request: BackupRequest
  ) async throws(BlockError) -> Int {
    let target = try await graph.open(path, OpenOptions(format: "qcow2"))
    do throws(BlockError) {
      // Whatever becomes of the file, the bitmap keeps its bits until the backup has its name.
      var spec = BackupSpec(
        source: .node(disk), target: .node(target), sync: bitmap == nil ? .full : .bitmap,
        bitmap: bitmap, bitmapMode: bitmap == nil ? nil : .never, jobID: "backup")
      spec.speed = request.limit
      let copied = try await BackupRun(graph: graph, onProgress: request.onProgress).run(spec)
      let coarsest = 1 << FormatLimits.maximumGranularityBits
      try target.addBitmap(name, granularity: coarsest, persistent: true, disabled: true)
      try await graph.close(target)
      return copied
    } catch {
      try? await graph.close(target)
      throw error
    }
  }

  /// Removes this chain's bitmaps from the disk, but for one.
  ///
  /// Others' stay.
  private func removeBitmaps(otherThan kept: String, from disk: BlockNode) async throws(BlockError)
  {
    for name in disk.bitmaps.all.compactMap(\.name)
    where name.hasPrefix("lamina.\(chain).") && name != kept {
      try await disk.removeBitmap(name)
    }
  }
}

/// Runs one job to its end.
struct BackupRun: Sendable {
  let graph: BlockGraph
  let onProgress: @Sendable (JobProgress) -> Bool

  /// Runs the job that `spec` says; answers the bytes that it copied.
  ///
  /// Cancelled, it throws `cancelled`.
  func run(_ spec: BackupSpec) async throws(BlockError) -> Int {
    do {
      let job = try await JobRegistry(graph: graph).backup(spec)
      while job.result == nil {
        _ = await graph.world.sleep(nanoseconds: 20_000_000)
        if !onProgress(job.progress), job.result == nil { try? job.cancel() }
      }
      switch await job.wait() {
      case .success: return job.progress.current
      case .failure(let error): throw error
      case .cancelled: throw JobError(.cancelled, "Operation canceled")
      }
    } catch let error as JobError {
      if error.code == .cancelled {
        throw BlockError(.cancelled, "the backup was cancelled; nothing has changed", cause: error)
      }
      throw BlockError(error.block?.code ?? .io, error.message, cause: error)
    } catch {
      throw BlockError(.io, "\(error)", cause: error)
    }
  }
}
