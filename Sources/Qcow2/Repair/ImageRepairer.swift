internal import BlockLayer
internal import Primitives

/// Puts right what a check finds.
///
/// It walks, and does what the walk says is needed, until a walk needs nothing; then one more walk,
/// which changes nothing, tells what is left.
///
/// Order, and why a crash between any two writes does no harm
/// 1. Changes of single entries, by the walk itself (`ConsistencyCheck`). An offset that is given
///    up is durable before any refcount falls. A refcount is set to the number of references that
///    are on disk; a copied flag is set only where there is one. Each of these is right by itself.
/// 2. A bitmap directory that cannot be read goes from the header; what it named is free after
///    that.
/// 3. New refcount blocks and a table are written to clusters that nothing refers to, and are
///    durable before the header names them, by one write of 12 bytes. Until then the old ones hold.
/// 4. A new snapshot table, likewise.
/// 5. What 2 to 4 left behind is freed by the walk that follows.
/// 6. The dirty and the corrupt bit are cleared when a walk has found nothing corrupt.
///
/// Nothing is freed, and no refcounts are built anew, after a walk that could not follow every
/// reference.
struct ImageRepairer {
  let node: BlockNode
  let mode: ImageRepair
  let limits: CheckLimits
  /// Whether bitmaps and snapshots may be dropped, in part or whole, to put the image right.
  var mayLose = true
  var cluster: HeaderCluster
  var geometry: Geometry { cluster.header.geometry }
  private var report = ImageRepairResult()

  /// Prepares the repair of the image in `node`, whose first cluster says `cluster`.
  init(_ cluster: HeaderCluster, in node: BlockNode, mode: ImageRepair, limits: CheckLimits) {
    self.node = node
    self.mode = mode
    self.limits = limits
    self.cluster = cluster
  }

  /// The most walks that repair: each kind of damage needs one, and one frees what is left.
  private static let mostWalks = 6

  /// Repairs; answers what was done, and what is left.
  mutating func run() async throws(BlockError) -> ImageRepairResult {
    // A writer clears what it cannot keep true, before it changes anything.
    if !cluster.header.unknownAutoclearFeatures.isEmpty {
      try await patchHeader(.autoclearFeatures) { $0.autoclearFeatures.formIntersection(.known) }
    }
    #if MUTANT_DIRTY_CLEARED_BEFORE_REPAIR
    try await clearMarks()
    #endif
    var first: CheckLog?
    for _ in 0..<Self.mostWalks {
      var walk = ConsistencyCheck(cluster, in: node, limits: limits, repairing: mode)
      walk.mayLose = mayLose
      let result = try await walk.run()
      try await node.flush()
      take(walk.log, result, isFirst: first == nil)
      if first == nil { first = walk.log }
      guard mode == .all, try await meet(&walk) else { break }
    }
    var last = ConsistencyCheck(cluster, in: node, limits: limits)
    report.remaining = try await last.run()
    if let first { count(first) }
    if report.remaining.corruptions == 0, report.remaining.checkErrors == 0 {
      try await clearMarks()
    }
    return report
  }

  /// The first walk's findings are told, and everything that was repaired.
  private mutating func take(_ log: CheckLog, _ result: ImageCheck, isFirst: Bool) {
    report.findings += isFirst ? result.findings : result.findings.filter { $0.kind == .repaired }
    // Leaks of later walks come of the repair itself.
    if isFirst {
      report.leaksFixed = log.leaksFixed
      report.corruptionsFixed = log.corruptionsFixed
    }
  }

  /// Counts what the first walk found and left, and the last did not find any more.
  private mutating func count(_ first: CheckLog) {
    report.leaksFixed += max(0, first.result.leaks - report.remaining.leaks)
    report.corruptionsFixed += max(0, first.result.corruptions - report.remaining.corruptions)
  }

  mutating func tell(_ message: String) {
    report.findings.append(ImageCheck.Finding(.repaired, message))
  }

  /// Does one thing that a walk says is needed; says whether it did, so that another walk is due.
  private mutating func meet(_ walk: inout ConsistencyCheck) async throws(BlockError) -> Bool {
    if walk.needs.bitmapsGone {
      try await dropBitmaps()
      return true
    }
    if walk.needs.rebuild, try await rebuildRefcounts() { return true }
    if let snapshots = walk.needs.snapshots {
      return try await writeSnapshots(
        snapshots, mayDrop: walk.needs.dropsSnapshots, because: walk.needs.snapshotFindings)
    }
    return false
  }

  // MARK: - Header

  /// Changes one group of header fields by one small write, and makes it durable.
  ///
  /// What it names is durable before.
  mutating func patchHeader(
    _ group: HeaderFieldGroup, _ change: (inout Header) -> Void
  ) async throws(BlockError) {
    var changed = cluster
    change(&changed.header)
    try await node.flush()
    let bytes = changed.header.patch(group)
    try await node.write(group.range, from: bytes.span.bytes)
    try await node.flush()
    cluster = changed
  }

  private mutating func clearMarks() async throws(BlockError) {
    let marks: IncompatibleFeatures = [.dirty, .corrupt]
    guard !cluster.header.incompatibleFeatures.isDisjoint(with: marks) else { return }
    try await patchHeader(.incompatibleFeatures) { $0.incompatibleFeatures.subtract(marks) }
  }

  /// Takes the bitmaps out of the header.
  private mutating func dropBitmaps() async throws(BlockError) {
    var changed = cluster
    changed.extensions.bitmaps = nil
    changed.extensions.bitmapsDefect = nil
    changed.header.autoclearFeatures.remove(.bitmaps)
    var buffer = IOBuffer(byteCount: geometry.clusterSize)
    var old = buffer.mutableBytes
    try await node.read(ByteRange(0, old.byteCount), into: &old)
    let plan: HeaderRewrite
    do { plan = try changed.rewrite(replacing: old.bytes) } catch { throw BlockError(error) }
    for step in plan.steps {
      try await node.write(
        ByteRange(offset: step.offset.value, count: step.bytes.count), from: step.bytes.span.bytes)
      try await node.flush()
    }
    cluster = changed
    tell("Discarding the bitmaps: their directory cannot be read")
  }
}
