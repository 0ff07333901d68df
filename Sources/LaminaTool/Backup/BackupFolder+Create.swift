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
    let reason = try await reasonForFull(request, last, disk)
    let partial = ".\(Self.fileName(number)).partial"
    folder.remove(partial)
    try await renewBitmap(number, request.granularity, on: disk)
    let target = folder.path.appending(partial)
    let copied: Int
    do throws(BlockError) {
      try await createTarget(target, disk, backing: reason == nil ? last : nil)
      copied = try await copy(disk, to: target, from: reason == nil ? last : nil, request)
      #if MUTANT_BITMAP_REMOVED_BEFORE_RENAME
      try await removeBitmaps(otherThan: number, from: disk)
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
    try await removeBitmaps(otherThan: number, from: disk)
    return BackupReport(
      number: number, fullReason: reason, copiedBytes: copied, path: path(number))
  }

  /// Why the backup cannot be incremental; nil when it can.
  private func reasonForFull(
    _ request: BackupRequest, _ last: Int?, _ disk: BlockNode
  ) async throws(BlockError) -> String? {
    guard let last else { return "the folder has no backup yet" }
    if request.isFull { return "a full backup was asked for" }
    let name = bitmapName(last)
    guard let bitmap = disk.bitmaps.find(name) else {
      return "the disk has no bitmap '\(name)': it was removed, or the disk is another one"
    }
    if bitmap.isInconsistent {
      return "the bitmap '\(name)' is inconsistent: the disk was not closed by its last writer"
    }
    guard bitmap.isEnabled else {
      return "the bitmap '\(name)' is disabled: writes since then may be missing in it"
    }
    let node: BlockNode
    do throws(BlockError) { node = try await open(last) } catch {
      return "backup \(last) cannot be opened (\(error.message))"
    }
    let length = node.length
    let files = sequence(first: node, next: \.backing).reduce(0) { count, _ in count + 1 }
    try await graph.close(node)
    guard files < graph.policy.maxDepth else {
      return "\(files) backups stand on each other: more could not be opened together"
    }
    guard length == disk.length else {
      return "the disk has another size than backup \(last) (\(disk.length) and \(length) bytes)"
    }
    return nil
  }

  /// Stores an empty, recording bitmap for what is written after backup `number`, durably.
  private func renewBitmap(
    _ number: Int, _ granularity: Int?, on disk: BlockNode
  ) async throws(BlockError) {
    let name = bitmapName(number)
    if disk.bitmaps.find(name) != nil { try await disk.removeBitmap(name) }
    try disk.addBitmap(name, granularity: granularity, persistent: true)
    try await graph.storeBitmaps(of: disk)
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
  /// The target is durable then.
  private func copy(
    _ disk: BlockNode, to path: FilePath, from last: Int?, _ request: BackupRequest
  ) async throws(BlockError) -> Int {
    let target = try await graph.open(path, OpenOptions(format: "qcow2"))
    do throws(BlockError) {
      // Whatever becomes of the file, the bitmap keeps its bits until the backup has its name.
      var spec = BackupSpec(
        source: .node(disk), target: .node(target), sync: last == nil ? .full : .bitmap,
        bitmap: last.map(bitmapName), bitmapMode: last == nil ? nil : .never, jobID: "backup")
      spec.speed = request.limit
      let copied = try await BackupRun(graph: graph, onProgress: request.onProgress).run(spec)
      try await graph.close(target)
      return copied
    } catch {
      try? await graph.close(target)
      throw error
    }
  }

  /// Removes this chain's bitmaps from the disk, but for that of backup `number`.
  ///
  /// Others' stay.
  private func removeBitmaps(otherThan number: Int, from disk: BlockNode) async throws(BlockError) {
    for bitmap in disk.bitmaps.all {
      guard let name = bitmap.name, name.hasPrefix("lamina.\(chain)."),
        name != bitmapName(number)
      else { continue }
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
