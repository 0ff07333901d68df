internal import BlockLayer
internal import Execution
internal import SystemPackage

/// Backups to host files.
extension JobRegistry {
  /// Makes or opens the target, makes the backup's moment, and starts the copying.
  ///
  /// The target is the job's own: it is closed when the job ends, whichever way, and is a complete
  /// image then. One that somebody else has come to use (to export it, say) is complete too, but
  /// stays open: who uses it closes it, with `BlockGraph.close`. A file that was made stays when
  /// something fails later; nothing that can be refused is refused after a file was overwritten.
  ///
  /// Not to be called while holding `graph.changes`, which this waits for.
  ///
  /// Source: QMP's `drive-backup`, whose error texts these are.
  public func driveBackup(_ spec: DriveBackupSpec) async throws(JobError) -> Job {
    await graph.changes.lock()
    defer { graph.changes.unlock() }
    let job = try await prepareDriveBackup(spec, JobGroup(held: true))
    job.commit()
    return job
  }

  /// Prepares a backup to a file as part of a change of the graph; its group is held.
  func prepareDriveBackup(
    _ spec: DriveBackupSpec, _ group: JobGroup
  ) async throws(JobError) -> Job {
    let source = try BackupPlan.checkSource(spec.backup(to: spec.source), self)
    var spec = spec
    // Without a layer below, the top one is all.
    if spec.sync == .top, source.dataNode.backing == nil { spec.sync = .full }
    let target: BlockNode
    do throws(BlockError) {
      try graph.checkUnused(spec.target)
      target = try await openTarget(spec, source)
    } catch {
      throw .block(error)
    }
    do throws(JobError) {
      return try await prepareBackup(spec.backup(to: .node(target)), group, ownsTarget: true)
    } catch {
      try? await target.close(in: graph, keeping: source)  // nothing was written to it
      throw error
    }
  }

  private func openTarget(
    _ spec: DriveBackupSpec, _ source: BlockNode
  ) async throws(BlockError) -> BlockNode {
    var options = OpenOptions(format: spec.format, discard: .unmap, detectZeroes: .unmap)
    switch spec.mode {
    case .existing:
      // What the guest writes is saved above the live disk, whatever the image names.
      if spec.sync == .none { options.backing = .node(source) }
    case .absolutePaths:
      let format = spec.format ?? source.dataNode.imageFormat
      let below = spec.layerBelow(source)
      var image = NewImage(length: source.length)
      if let below {
        image.backing = try backing(below, of: source, from: spec.target.removingLastComponent())
      }
      try await graph.createImage(
        at: spec.target, format: format, image, replacing: true)
      options.format = format
      options.backing = below.map { .node($0) } ?? .ignore
    }
    return try await graph.open(spec.target, options)
  }

  /// How the new image in `folder` names `below`: as the source does, if that says the same there.
  private func backing(
    _ below: BlockNode, of source: BlockNode, from folder: FilePath
  ) throws(BlockError) -> RecordedBacking {
    let image = source.dataNode
    if below !== source, let path = image.hostPath,
      folder.isSameFolder(as: path.removingLastComponent()),
      let recorded = (image.driver as? any BackingFileImage)?.recordedBacking,
      recorded.format != nil
    {
      return recorded
    }
    return try below.backingReference(from: folder)
  }
}

extension BlockNode {
  /// Closes a job's target, whose backing node may be the job's source.
  ///
  /// The source is its user's: it stays open even if it has neither a name nor another user.
  func close(in graph: BlockGraph, keeping source: BlockNode) async throws(BlockError) {
    let hold = try BlockEdge(.root, to: source, user: "the end of a backup job")
    defer { hold.detach() }
    try await graph.close(self)
  }

  /// The format of images like this one: a bare host file's is raw.
  fileprivate var imageFormat: String {
    driver is any HostBacked ? "raw" : driver.driverName
  }
}

extension DriveBackupSpec {
  /// What a new target shows where nothing was copied: nil for zeros.
  fileprivate func layerBelow(_ source: BlockNode) -> BlockNode? {
    switch sync {
    case .full, .incremental, .bitmap: nil
    case .top: source.dataNode.backing
    case .none: source
    }
  }

  /// The same backup, to a node.
  func backup(to node: BackupSpec.Place) -> BackupSpec {
    var spec = BackupSpec(
      source: source, target: node, sync: sync, bitmap: bitmap, bitmapMode: bitmapMode,
      jobID: jobID)
    spec.speed = speed
    spec.maxWorkers = maxWorkers
    spec.maxChunk = maxChunk
    spec.compresses = compresses
    spec.autoFinalize = autoFinalize
    spec.autoDismiss = autoDismiss
    spec.filterNodeName = filterNodeName
    spec.onSourceError = onSourceError
    spec.onTargetError = onTargetError
    return spec
  }
}
