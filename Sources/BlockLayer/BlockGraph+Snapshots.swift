internal import Execution
internal import Primitives
internal import Synchronization

/// Snapshots inside an image, for users of a graph: each waits until no request is under way above
/// the node, and lets new ones wait until it is done.
///
/// Filters on top of the image are looked through.
extension BlockGraph {
  /// The snapshots of the image of `node`.
  ///
  /// Throws `unsupported` for a driver that has none.
  public func snapshots(of node: BlockNode) async throws(BlockError) -> [DiskSnapshot] {
    try await node.dataNode.snapshotStore.snapshots()
  }

  /// Takes a snapshot of the disk `node` as it is now, durably, and answers it.
  ///
  /// A guest that should find its files whole is to be quiet already: the snapshot is what a loss
  /// of power would leave. The World says when it was taken. After a crash it is there, whole, or
  /// not there.
  @discardableResult
  public func createSnapshot(
    named name: String, of node: BlockNode
  ) async throws(BlockError) -> DiskSnapshot {
    let seconds = world.secondsSince1970
    return try await changingSnapshots(of: node) { image, store async throws(BlockError) in
      try await store.createSnapshot(named: name, secondsSince1970: seconds)
    }
  }

  /// Gives the disk `node` the contents and the length of a snapshot, durably.
  ///
  /// What the disk held is lost, but for other snapshots. Bitmaps do not tell how the two differ:
  /// every one that records has all bits set afterwards. Refused (`inUse`, `permissionConflict`)
  /// while a job copies from or to the disk or an overlay shows it, and where a bitmap cannot have
  /// the snapshot's length. After a crash the disk is the old one or the snapshot.
  public func applySnapshot(
    _ reference: SnapshotReference, to node: BlockNode
  ) async throws(BlockError) {
    try await changingSnapshots(of: node) { image, store async throws(BlockError) in
      let snapshot = try reference.find(in: try await store.snapshots())
      if engines.contains(where: { $0.uses(image) }) {
        throw BlockError(.inUse, "Node '\(image.name)' is in use by a job", node: image.name)
      }
      var taken: Permissions = [.consistentRead, .write]
      if snapshot.length != image.length { taken.insert(.resize) }
      let edge = try BlockEdge(
        .root, to: image, permissions: EdgePermissions(taken: taken, shared: .all),
        user: "a snapshot that is applied")
      defer { edge.detach() }
      try image.checkResizable(to: snapshot.length)
      do throws(BlockError) {
        try await store.applySnapshot(reference)
      } catch {
        // What was refused has changed nothing; whatever else failed may have come late.
        if !error.isRefusalOfSnapshot { image.markAllDirty() }
        throw error
      }
      image.markAllDirty()
    }
  }

  /// Removes a snapshot from the image of `node`, durably; the disk stays as it is.
  ///
  /// After a crash the snapshot is there, whole, or not there.
  public func deleteSnapshot(
    _ reference: SnapshotReference, of node: BlockNode
  ) async throws(BlockError) {
    try await changingSnapshots(of: node) { image, store async throws(BlockError) in
      try await store.deleteSnapshot(reference)
    }
  }

  private func changingSnapshots<T: Sendable>(
    of node: BlockNode,
    _ body: (BlockNode, any SnapshotStore) async throws(BlockError) -> T
  ) async throws(BlockError) -> T {
    let image = node.dataNode
    let store = try image.snapshotStore
    guard !image.isReadOnly else {
      throw BlockError(.readOnly, "Block node is read-only", node: image.name)
    }
    try image.checkHealthy()
    return try await drained(image) { () async throws(BlockError) -> T in
      defer { image.writes.add(1, ordering: .releasing) }
      do throws(BlockError) {
        return try await body(image, store)
      } catch {
        throw error.at(node: image.name)
      }
    }
  }
}

extension BlockNode {
  /// The driver as one that keeps snapshots.
  fileprivate var snapshotStore: any SnapshotStore {
    get throws(BlockError) {
      guard let store = driver as? any SnapshotStore else {
        throw BlockError(
          .unsupported, "\(driver.driverName) images have no internal snapshots", node: name)
      }
      return store
    }
  }

  /// Gives the bitmaps the node's length, and sets all bits of those that record: nobody knows what
  /// of the disk has changed.
  fileprivate func markAllDirty() {
    bitmaps.follow(nodeLength: length)
    bitmaps.record(ByteRange(0, length), nodeLength: length)
  }
}

extension BlockError {
  /// Whether a driver refused to apply a snapshot before it changed anything.
  fileprivate var isRefusalOfSnapshot: Bool {
    [.notFound, .invalidArgument, .invalidImage, .corrupt, .unsupported].contains(code)
  }
}

extension CopyEngine {
  /// Whether it reads from or writes to `node`.
  fileprivate func uses(_ node: BlockNode) -> Bool {
    [source, target].contains { $0.attachedNode?.reaches(node) ?? false }
  }
}
