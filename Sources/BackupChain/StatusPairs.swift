internal import BlockLayer
internal import Primitives

/// A walk over two nodes at once, by runs in which each has one block status.
///
/// Each side is asked again only when its run has ended, so that a long run of one is not looked
/// for anew at each short one of the other. Beyond its end a node reads as zeros.
struct StatusPairs {
  let left: BlockNode
  let right: BlockNode
  private var position: Int
  private let end: Int
  private var leftRun = (upper: 0, isZero: true)
  private var rightRun = (upper: 0, isZero: true)

  /// Walks over `range`.
  init(_ left: BlockNode, _ right: BlockNode, in range: ByteRange) {
    (self.left, self.right) = (left, right)
    position = range.lower
    end = range.upper
    leftRun.upper = position
    rightRun.upper = position
  }

  /// The next run, and on which side it reads as zeros.
  mutating func next() async throws(BlockError) -> (
    run: ByteRange, leftIsZero: Bool, rightIsZero: Bool
  )? {
    guard position < end else { return nil }
    if leftRun.upper <= position { leftRun = try await Self.ask(left, position, end) }
    if rightRun.upper <= position { rightRun = try await Self.ask(right, position, end) }
    let run = ByteRange(position, min(leftRun.upper, rightRun.upper, end))
    position = run.upper
    return (run, leftRun.isZero, rightRun.isZero)
  }

  private static func ask(
    _ node: BlockNode, _ position: Int, _ end: Int
  ) async throws(BlockError) -> (upper: Int, isZero: Bool) {
    guard position < node.length else { return (end, true) }
    let status = try await node.chainStatus(ByteRange(position, min(end, node.length)))
    return (position + status.count, status.status.isZero)
  }
}

/// Compares the bytes of two nodes, piece by piece; beyond its end a node reads as zeros.
struct PieceComparison: ~Copyable {
  static let pieceByteCount = 1 << 20
  private var one = IOBuffer(byteCount: pieceByteCount)
  private var other = IOBuffer(byteCount: pieceByteCount)

  init() {}

  /// The first byte of `run` in which the two differ; nil when there is none.
  mutating func firstDifference(
    _ left: BlockNode, _ right: BlockNode, in run: ByteRange
  ) async throws(BlockError) -> Int? {
    var rest = run
    while !rest.isEmpty {
      let piece = rest.prefix(Self.pieceByteCount)
      try await read(left, piece, intoOther: false)
      try await read(right, piece, intoOther: true)
      let count = piece.count
      let window = ByteRange(0, count)
      if let offset = one.bytes.slice(window).firstDifference(from: other.bytes.slice(window)) {
        return piece.lower + offset
      }
      rest = rest.dropFirst(count)
    }
    return nil
  }

  /// Whether `run` holds nothing but zeros.
  mutating func isZero(_ node: BlockNode, _ run: ByteRange) async throws(BlockError) -> Bool {
    var rest = run
    while !rest.isEmpty {
      let piece = rest.prefix(Self.pieceByteCount)
      try await read(node, piece, intoOther: false)
      if one.bytes.slice(ByteRange(0, piece.count)).firstNonzero != nil { return false }
      rest = rest.dropFirst(piece.count)
    }
    return true
  }

  private mutating func read(
    _ node: BlockNode, _ piece: ByteRange, intoOther: Bool
  ) async throws(BlockError) {
    if intoOther {
      var bytes = other.mutableBytes
      try await Self.read(node, piece, &bytes)
    } else {
      var bytes = one.mutableBytes
      try await Self.read(node, piece, &bytes)
    }
  }

  private static func read(
    _ node: BlockNode, _ piece: ByteRange, _ bytes: inout MutableRawSpan
  ) async throws(BlockError) {
    let inside = piece.intersection(ByteRange(0, node.length))
    let count = inside.isEmpty ? 0 : inside.count
    if count > 0 {
      var part = bytes.slice(ByteRange(0, count))
      try await node.read(inside, into: &part)
    }
    if count < piece.count { bytes.fill(ByteRange(count, piece.count), with: 0) }
  }
}
