internal import BlockLayer
internal import DirtyBitmap
internal import Primitives

/// What an incremental backup copies: what the bitmap marks, and what the bitmap cannot know.
///
/// A bitmap says nothing of a disk that became shorter and longer again, or whose zeros came about
/// without a write. So every range that reads as zeros on one side only, by its block status, is
/// looked at, and counts as changed where the bytes differ. Where both have data, the bitmap is
/// believed.
struct ChangedRanges: ~Copyable {
  private let disk: BlockNode
  /// The last backup, through its chain.
  private let last: BlockNode
  /// The result: a bitmap of the disk that is not stored.
  let bitmap: DirtyBitmap
  private let goesOn: @Sendable () -> Bool
  private var pieces = PieceComparison()

  /// Gives the disk a bitmap `name`, not stored, with what its bitmap `tracking` marks.
  ///
  /// `goesOn` is asked often; where it says no, `cancelled` is thrown.
  init(
    _ disk: BlockNode, _ tracking: String, since last: BlockNode, as name: String,
    while goesOn: @escaping @Sendable () -> Bool
  ) throws(BlockError) {
    let source = try disk.bitmaps.named(tracking)
    let changes = try disk.addBitmap(name, granularity: source.granularity, disabled: true)
    do {
      try changes.merge(source)
    } catch {
      disk.bitmaps.drop(changes)
      throw BlockError(.bitmap, error.message, cause: error)
    }
    self.disk = disk
    self.last = last
    self.goesOn = goesOn
    bitmap = changes
  }

  /// Adds what contradicts the last backup, and takes off the sentinels that are as they were.
  mutating func complete(_ sentinels: Sentinels) async throws(BlockError) {
    var pairs = StatusPairs(disk, last, in: ByteRange(0, disk.length))
    while let (run, isZero, wasZero) = try await pairs.next() {
      if isZero != wasZero { try await addContradiction(run, isZero: isZero) }
      try check()
    }
    for sentinel in sentinels.ranges where sentinel.upper <= min(disk.length, last.length) {
      let (disk, last) = (disk, last)
      if try await pieces.firstDifference(disk, last, in: sentinel) == nil {
        bitmap.withBits { $0.reset(sentinel) }
      }
      try check()
    }
  }

  private func check() throws(BlockError) {
    if !goesOn() { throw BlockError(.cancelled, "the run was cancelled; nothing has changed") }
  }

  /// Adds the clean parts of a run that reads as zeros on one side where the other has something
  /// else: a cluster may be data on one side and a hole of its file on the other.
  private mutating func addContradiction(_ run: ByteRange, isZero: Bool) async throws(BlockError) {
    var rest = run
    let (other, bitmap) = (isZero ? last : disk, bitmap)
    while !rest.isEmpty {
      let next = rest
      let clean = bitmap.withBits {
        $0.nextClearRun(in: next, maxLength: PieceComparison.pieceByteCount)
      }
      guard let clean else { return }
      rest = ByteRange(clean.upper, rest.upper)
      if try await !pieces.isZero(other, clean) { bitmap.withBits { $0.set(clean) } }
      try check()
    }
  }
}
