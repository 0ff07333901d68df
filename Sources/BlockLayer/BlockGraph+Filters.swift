/// Changing the graph while guests use it.
extension BlockGraph {
  /// Runs `body` while no backend above `node` has a request under way, and no job's copying reads
  /// or writes through it; new ones wait.
  ///
  /// Nests: `body` may insert and remove filters. The copying is shut last: until then it does what
  /// guests' requests may wait for. A task of it that has begun waits for none that has not.
  public func drained<T, Failure: Error>(
    _ node: BlockNode, _ body: () async throws(Failure) -> T
  ) async throws(Failure) -> T {
    try await drained([node], body)
  }

  /// Runs `body` while no backend above any of `nodes` has a request under way, and no job's
  /// copying reads or writes through them; new ones wait.
  ///
  /// One moment for all of the nodes. Nests, as long as the inner nodes are below doors that the
  /// outer drain has shut, or below filters that came in since: what is shut waits for nobody.
  public func drained<T, Failure: Error>(
    _ nodes: [BlockNode], _ body: () async throws(Failure) -> T
  ) async throws(Failure) -> T {
    let users =
      backends.map { ($0.root, $0.door) }
      + engines.flatMap { [($0.source, $0.door), ($0.target, $0.door)] }
    let doors = users.filter { user in
      guard let root = user.0.attachedNode else { return false }
      return nodes.contains { root.reaches($0) }
    }.map(\.1)
    for door in doors { await door.quiesce() }
    defer { for door in doors { door.resume() } }
    return try await body()
  }

  /// What copies from nodes of the graph, in the order of the nodes.
  var engines: [CopyEngine] {
    nodes.compactMap { ($0.driver as? CopyBeforeWriteDriver)?.engine }
  }

  /// Makes the persistent bitmaps of `node` and their bits durable in its image, in one atomic
  /// switch, while nobody writes.
  ///
  /// They go on recording. What a job works from is stored with what was written meanwhile.
  public func storeBitmaps(of node: BlockNode) async throws(BlockError) {
    try await drained(node) { () async throws(BlockError) in try await node.storeBitmaps() }
  }

  /// Puts `filter`, whose file child is `node`, above it: all other users of `node` use the filter
  /// from now on, but for those that are below the filter themselves.
  ///
  /// On a permission conflict the graph is as before.
  public func insert(filter: BlockNode, above node: BlockNode) async throws(BlockError) {
    try await drained(node) { () throws(BlockError) in
      // A node that the filter reaches (say its target, over `node`) would close a loop.
      let moved = node.parentEdges.filter { edge in
        guard let parent = edge.parent else { return true }
        return !filter.reaches(parent)
      }
      try move(moved, from: node, to: filter)
    }
  }

  /// Takes `filter` out: its users use its file child again.
  ///
  /// The filter stays a node without users, to be closed. On a permission conflict the graph is as
  /// before.
  public func remove(filter: BlockNode) async throws(BlockError) {
    guard let below = filter.primary else { return }
    try await drained(filter) { () throws(BlockError) in
      try move(filter.parentEdges, from: filter, to: below)
    }
  }

  private func move(
    _ edges: [BlockEdge], from old: BlockNode, to new: BlockNode
  ) throws(BlockError) {
    for edge in edges { edge.point(to: new) }
    do throws(BlockError) {
      // Who lost users first: it takes less of the nodes below.
      try PermissionCheck.refresh(old)
      try PermissionCheck.refresh(new)
    } catch {
      for edge in edges { edge.point(to: old) }
      // What was free of conflicts before is so again.
      try? PermissionCheck.refresh(new)
      try? PermissionCheck.refresh(old)
      throw error
    }
  }
}

extension BlockNode {
  /// Whether `node` is this one or below it.
  func reaches(_ node: BlockNode) -> Bool {
    self === node || driver.children.contains { $0.node.reaches(node) }
  }
}
