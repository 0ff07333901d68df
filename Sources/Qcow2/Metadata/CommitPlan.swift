internal import BlockLayer
internal import Primitives

/// All that a write-back writes, taken from memory at one moment.
///
/// Because it is taken at once, its mappings have their refcounts in it or on disk, and their data
/// was written before (invariants 1 and 2 of `Tables`).
struct CommitPlan: Sendable {
  /// What is to be written of a table of 8-byte entries.
  enum TableWrite: Sendable {
    case nothing
    /// These entries, in place.
    case entries([(index: Int, value: UInt64)])
    /// All of it, at a new place that the header then names.
    case moved([UInt64])

    var isNothing: Bool { if case .nothing = self { true } else { false } }
  }

  var refcountBlocks: [RefcountBlockImage]
  var refcountTable: TableWrite
  var refcountTableOffset: HostOffset
  var newTables: [Int]
  var slices: [L2SliceImage]
  var l1: TableWrite
  var l1Offset: HostOffset
  var removed: [RemovedReference]

  /// Whether mappings are among it, so that data and refcounts must be durable first.
  var hasMappings: Bool { !newTables.isEmpty || !slices.isEmpty || !l1.isNothing }
}

extension Tables {
  /// Takes what has to be written; nil when nothing has.
  ///
  /// `epochs` says whether references that were removed may be retired with it.
  ///
  /// Throws, and ends writing, when it would be written over something else.
  mutating func takePlan(_ epochs: RequestEpochs) throws(BlockError) -> CommitPlan? {
    guard isDirty else { return nil }
    var plan = CommitPlan(
      refcountBlocks: refcounts.images(),
      refcountTable: Self.tableWrite(refcountTable, dirtyRefcountTable, isRefcountTableMoved),
      refcountTableOffset: refcountTableOffset,
      newTables: newTables.sorted(), slices: l2.images(),
      l1: Self.tableWrite(l1, dirtyL1, isL1Moved), l1Offset: l1Offset, removed: [])
    try checkPlaces(of: plan)
    if retired.isEmpty, !removed.isEmpty, epochs.turn() {
      #if MUTANT_FREED_BEFORE_DURABLE
      retired = removed
      #else
      plan.removed = removed
      #endif
      removed = []
    }
    return plan
  }

  private static func tableWrite(
    _ table: [UInt64], _ dirty: Set<Int>, _ isMoved: Bool
  ) -> CommitPlan.TableWrite {
    if isMoved { return .moved(table) }
    if dirty.isEmpty { return .nothing }
    return .entries(dirty.sorted().map { ($0, table[$0]) })
  }

  /// Notes that a plan is on disk.
  ///
  /// What changed meanwhile stays to be written.
  mutating func didCommit(_ plan: CommitPlan) {
    refcounts.didWrite(plan.refcountBlocks)
    l2.didWrite(plan.slices)
    newTables.subtract(plan.newTables)
    if Self.settle(plan.refcountTable, refcountTable, &dirtyRefcountTable),
      plan.refcountTableOffset == refcountTableOffset
    {
      isRefcountTableMoved = false
    }
    if Self.settle(plan.l1, l1, &dirtyL1), plan.l1Offset == l1Offset { isL1Moved = false }
    retired += plan.removed
  }

  /// Takes entries that stand as they were written off the list; says whether a move is done.
  private static func settle(
    _ write: CommitPlan.TableWrite, _ table: [UInt64], _ dirty: inout Set<Int>
  ) -> Bool {
    switch write {
    case .nothing: return false
    case .entries(let entries):
      for (index, value) in entries where table[index] == value { dirty.remove(index) }
      return false
    case .moved(let written):
      for (index, value) in written.enumerated() where table[index] == value {
        dirty.remove(index)
      }
      return true
    }
  }

  /// Lets references that could not be given up be tried once more.
  mutating func retryHindered() {
    retired += hindered
    hindered = []
    hindrance = nil
  }

  /// Takes references back whose plan failed: they are retired with the next one.
  mutating func putBack(_ plan: CommitPlan) { removed = plan.removed + removed }
}
