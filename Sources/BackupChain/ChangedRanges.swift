internal import BlockLayer
internal import DirtyBitmap
internal import Primitives

/// What an incremental backup copies: what the bitmap marks, and what the bitmap cannot know.
///
/// A bitmap says nothing of a disk that became shorter and longer again, or whose zeros came about
/// without a write. So every range whose block status contradicts what the last backup shows counts
/// as changed too. Where both have data, the bitmap is believed.
struct ChangedRanges: ~Copyable {
  private let disk: BlockNode
  /// The last backup, through its chain.
  private let last: BlockNode
  /// The result: a bitmap of the disk that is not stored.
  private let bitmap: DirtyBitmap
  private static let bufferByteCount = 1 << 20
  private var buffer = IOBuffer(byteCount: bufferByteCount)

  /// Gives the disk a bitmap `name`, not stored, with what the disk's bitmap `tracking` marks.
  init(
    _ disk: BlockNode, _ tracking: String, since last: BlockNode, as name: String
  ) throws(BlockError) {
    let source = try disk.bitmaps.named(tracking)
    let changes = try disk.addBitmap(name, granularity: source.granularity, disabled: true)
    do {
      try changes.merge(source)
    } catch {
      throw BlockError(.bitmap, error.message, cause: error)
    }
    self.disk = disk
    self.last = last
    bitmap = changes
  }

  /// Adds what contradicts the last backup, and takes off the granule that every bitmap starts with
  /// if it is as it was.
  mutating func complete() async throws(BlockError) {
    try await addContradictions()
    try await dropFirstGranule()
  }

  private mutating func addContradictions() async throws(BlockError) {
    var position = 0
    while position < disk.length {
      var rest = ByteRange(position, disk.length)
      let here = try await disk.chainStatus(rest)
      var wasZero = true
      if position < last.length {
        rest = rest.intersection(ByteRange(0, last.length))
        let there = try await last.chainStatus(rest)
        wasZero = there.status.isZero
        rest = rest.prefix(there.count)
      }
      let run = rest.prefix(here.count)
      if here.status.isZero != wasZero {
        try await addContradiction(run, isZero: here.status.isZero)
      }
      position = run.upper
    }
  }

  /// Adds the clean parts of a run that reads as zeros on one side: all of it where the disk's are
  /// the zeros, what is not zero where the backup's are.
  private mutating func addContradiction(_ run: ByteRange, isZero: Bool) async throws(BlockError) {
    var rest = run
    let (disk, bitmap) = (disk, bitmap)
    while !rest.isEmpty {
      let next = rest
      guard
        let clean = bitmap.withBits({ $0.nextClearRun(in: next, maxLength: Self.bufferByteCount) })
      else {
        return
      }
      rest = ByteRange(clean.upper, rest.upper)
      var isChanged = isZero
      if !isZero { isChanged = try await !disk.readsAsZero(clean, through: &buffer) }
      if isChanged { bitmap.withBits { $0.set(clean) } }
    }
  }

  private mutating func dropFirstGranule() async throws(BlockError) {
    let granule = ByteRange(0, bitmap.granularity).intersection(ByteRange(0, disk.length))
    guard !granule.isEmpty, granule.count <= Self.bufferByteCount, granule.upper <= last.length
    else {
      return
    }
    var one = IOBuffer(byteCount: granule.count)
    var other = IOBuffer(byteCount: granule.count)
    var oneBytes = one.mutableBytes
    var otherBytes = other.mutableBytes
    try await disk.read(granule, into: &oneBytes)
    try await last.read(granule, into: &otherBytes)
    let isSame = oneBytes.bytes.firstDifference(from: otherBytes.bytes) == nil
    if isSame { bitmap.withBits { $0.reset(granule) } }
  }
}

extension BlockNode {
  /// Whether a range, no longer than `buffer`, holds nothing but zeros.
  func readsAsZero(
    _ range: ByteRange, through buffer: inout IOBuffer
  ) async throws(BlockError) -> Bool {
    var bytes = buffer.mutableBytes
    var part = bytes.slice(ByteRange(0, range.count))
    try await read(range, into: &part)
    return part.bytes.firstNonzero == nil
  }
}
