internal import BlockLayer
internal import DirtyBitmap
internal import Execution

/// Transactions.
extension JobRegistry {
  /// Makes all `actions` happen at one moment, or none.
  ///
  /// No guest's request, and none of a job, falls between two of them. Answers the jobs, started,
  /// in the order of their actions. Throws the first failure, with everything as it was. Not to be
  /// called while holding `graph.changes`, which this waits for.
  ///
  /// Source: QMP's `transaction`, whose error texts these are.
  @discardableResult
  public func transaction(
    _ actions: [Transaction.Action], completion: Transaction.CompletionMode = .individual
  ) async throws(JobError) -> [Job] {
    if completion == .grouped {
      for action in actions where !action.canBeGrouped {
        throw JobError(
          .invalidArgument,
          "Action '\(action.name)' does not support Transaction property "
            + "completion-mode = grouped")
      }
    }
    // First the lock, then the doors: who holds it waits for no request, so that nobody waits for
    // it behind a shut door.
    await graph.changes.lock()
    defer { graph.changes.unlock() }
    #if MUTANT_TRANSACTION_NOT_DRAINED
    let places: [BackupSpec.Place] = []
    #else
    let places = actions.flatMap(\.places)
    #endif
    return try await graph.drained(nodes(of: places)) { () async throws(JobError) in
      let group = completion == .grouped ? JobGroup(held: true) : nil
      return try await perform(actions, group)
    }
  }

  /// Those of the places that are there; looking up the others is for their actions to fail at.
  private func nodes(of places: [BackupSpec.Place]) -> [BlockNode] {
    var nodes: [BlockNode] = []
    for place in places {
      guard let node = try? place.resolve(in: graph) else { continue }
      // A device's bitmaps are below its jobs' filters.
      for node in [node, node.belowBackups] where !nodes.contains(where: { $0 === node }) {
        nodes.append(node)
      }
    }
    return nodes
  }

  private func perform(
    _ actions: [Transaction.Action], _ group: JobGroup?
  ) async throws(JobError) -> [Job] {
    var prepared: [PreparedAction] = []
    var isSealed = false
    do throws(JobError) {
      for action in actions { prepared.append(try await prepare(action, group)) }
      isSealed = true
      for action in prepared { try await action.seal() }
    } catch {
      for action in prepared.reversed() { await action.abort() }
      if isSealed { await PreparedAction.putBack(prepared) }
      throw error
    }
    for action in prepared { action.commit() }
    return prepared.compactMap { action in
      if case .job(let job) = action { return job }
      return nil
    }
  }

  // MARK: - Preparing

  /// Makes one action's effects; when it throws there are none.
  private func prepare(
    _ action: Transaction.Action, _ group: JobGroup?
  ) async throws(JobError) -> PreparedAction {
    switch action {
    case .addBitmap(let place, let name, let granularity, let persistent, let disabled):
      return try add(place, name, granularity, persistent: persistent, disabled: disabled)
    case .clearBitmap(let place, let name):
      let (_, bitmap) = try find(name, on: place)
      return try checked { () throws(BitmapError) in
        .changed(bitmap, old: try bitmap.clearSavingBits())
      }
    case .enableBitmap(let place, let name):
      return try turn(find(name, on: place).1, on: true)
    case .disableBitmap(let place, let name):
      return try turn(find(name, on: place).1, on: false)
    case .mergeBitmaps(let place, let target, let sources):
      return try merge(sources, into: target, on: place)
    case .removeBitmap(let place, let name):
      let (node, bitmap) = try find(name, on: place)
      return try checked { () throws(BitmapError) in
        try bitmap.beginRemoval()
        return .removing(node, bitmap)
      }
    case .backup(let spec):
      return .job(try await prepareBackup(spec, group ?? JobGroup(held: true)))
    case .driveBackup(let spec):
      return .job(try await prepareDriveBackup(spec, group ?? JobGroup(held: true)))
    case .abort:
      throw JobError(.aborted, "Transaction aborted using Abort action")
    }
  }

  private func add(
    _ place: BackupSpec.Place, _ name: String, _ granularity: Int?, persistent: Bool,
    disabled: Bool
  ) throws(JobError) -> PreparedAction {
    try checked { () throws(BitmapError) in try BitmapName.checkNotEmpty(name) }
    do {
      let node = try place.resolve(in: graph).belowBackups
      let bitmap = try node.addBitmap(
        name, granularity: granularity, persistent: persistent, disabled: disabled)
      return .added(node, bitmap)
    } catch {
      throw .block(error)
    }
  }

  private func turn(_ bitmap: DirtyBitmap, on isEnabled: Bool) throws(JobError) -> PreparedAction {
    let wasEnabled = bitmap.isEnabled
    return try checked { () throws(BitmapError) in
      if isEnabled { try bitmap.enable() } else { try bitmap.disable() }
      return .switched(bitmap, wasEnabled: wasEnabled)
    }
  }

  private func merge(
    _ sources: [Transaction.BitmapSource], into name: String, on place: BackupSpec.Place
  ) throws(JobError) -> PreparedAction {
    let (_, target) = try find(name, on: place)
    let old = try checked { () throws(BitmapError) in
      try target.checkModifiable()
      return try target.saveBits()
    }
    do throws(JobError) {
      for source in sources {
        let (_, bitmap) = try find(source.name, on: source.node ?? place)
        try checked { () throws(BitmapError) in try target.merge(bitmap) }
      }
    } catch {
      target.restore(old)
      throw error
    }
    return .changed(target, old: old)
  }

  /// A bitmap by its name, with QEMU's texts for names that name nothing.
  private func find(
    _ name: String, on place: BackupSpec.Place
  ) throws(JobError) -> (BlockNode, DirtyBitmap) {
    guard let node = try? place.resolve(in: graph).belowBackups else {
      throw JobError(.notFound, "Node '\(OpenPolicy.printable(place.label))' not found")
    }
    do {
      return (node, try node.bitmaps.named(name))
    } catch {
      throw JobError(.notFound, error.message, cause: error)
    }
  }

  private func checked<T>(_ body: () throws(BitmapError) -> T) throws(JobError) -> T {
    do { return try body() } catch { throw .bitmap(error) }
  }
}

extension BackupSpec.Place {
  /// How messages call it.
  var label: String {
    switch self {
    case .named(let name): name
    case .node(let node): node.name
    }
  }
}

extension BlockNode {
  /// The node that a backup's filters are above: what has the user's bitmaps, and keeps those that
  /// are added when the jobs end.
  var belowBackups: BlockNode {
    var node = self
    while node.driver is CopyBeforeWriteDriver, let below = node.primary { node = below }
    return node
  }
}
