internal import ImageOps
internal import Lamina

/// What the parts of a lab share.
struct LabContext: Sendable {
  let world: World
  let graph: BlockGraph
  let jobs: JobRegistry
  let images: ImageStore
  let clock: RequestClock

  /// Opens an image of the store with its backing chain.
  func open(_ name: String, readOnly: Bool = true) async throws(BlockError) -> BlockNode {
    try await graph.changes.withLock { () async throws(BlockError) in
      try await graph.open(
        images.path(name), OpenOptions(format: "qcow2", readOnly: readOnly, discard: .unmap))
    }
  }

  /// Closes a node, and what was opened for it.
  func close(_ node: BlockNode) async throws(BlockError) {
    try await graph.changes.withLock { () async throws(BlockError) in try await graph.close(node) }
  }

  /// Compares what the chain of the image `name` shows with `image`.
  func compare(_ name: String, with image: SparseImage) async throws -> ComparisonResult {
    let own = BlockGraph(world: world, registry: images.registry)
    let other = SimulatedDisk(image, in: world, schedulingPoints: false)
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
