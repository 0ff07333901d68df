internal import ImageOps
internal import Lamina

/// What the parts of a lab share.
struct LabContext: Sendable {
  let world: World
  let graph: BlockGraph
  let jobs: JobRegistry
  let images: ImageStore
  let clock: RequestClock
  let command: BackupLab.Command

  /// Opens an image of the store with its backing chain.
  func open(_ name: String, readOnly: Bool = true) async throws(BlockError) -> BlockNode {
    try await graph.changes.withLock { () async throws(BlockError) in
      try await graph.open(
        images.path(name), OpenOptions(format: "qcow2", readOnly: readOnly, discard: .unmap))
    }
  }

  /// Makes the image of a backup's target.
  func create(_ plan: PreparedBackup.Plan, length: Int) async throws(BlockError) {
    try await images.create(
      plan.target, length: length, clusterSize: plan.clusterSize, backing: plan.backing)
  }

  /// Makes the image of a backup's target, and opens it.
  func makeTarget(
    _ plan: PreparedBackup.Plan, length: Int
  ) async throws(BlockError) -> BlockNode {
    try await create(plan, length: length)
    do throws(BlockError) {
      return try await open(plan.target, readOnly: false)
    } catch {
      try? images.remove(plan.target)  // the first failure is the one to tell
      throw error
    }
  }

  /// Closes a node, and what was opened for it.
  func close(_ node: BlockNode) async throws(BlockError) {
    try await graph.changes.withLock { () async throws(BlockError) in try await graph.close(node) }
  }

  /// Compares what the chain of the image `name` shows with `image`.
  func compare(_ name: String, with image: SparseImage) async throws -> ComparisonResult {
    let own = BlockGraph(world: world, registry: images.registry)
    let other = SimulatedDisk(image, in: world, schedulingPoints: false, forgets: false)
    let model = try own.addNode(other, options: NodeOptions(isReadOnly: true))
    return try await compare(name, with: model)
  }

  /// Compares what the chain of the image `name` shows with what `other` does.
  func compare(_ name: String, with other: BlockNode) async throws -> ComparisonResult {
    let node = try await open(name)
    do {
      let result = try await ImageComparison(isStrict: false).compare(node, other)
      try await close(node)
      return result
    } catch {
      try? await close(node)
      throw error
    }
  }
}
