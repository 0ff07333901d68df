internal import BlockLayer
internal import Primitives

/// What some disks show, one behind the other, and zeros behind the last up to a length.
struct DiskView: Sendable {
  /// A run of bytes of one sort.
  struct Run: Sendable {
    /// What there is to know of the bytes.
    enum Kind: Sendable {
      /// They may be anything.
      case data
      /// They are zeros.
      case zeros
      /// Layers that are not to be looked at have them.
      case left
    }
    var kind: Kind
    /// The length in bytes, at least 1.
    var count: Int
  }

  let length: Int
  private let disks: [(node: BlockNode, start: Int)]
  /// The deepest layer that is looked at; nil: all are.
  private let floor: BlockNode?
  /// Whether what the first layer itself has is left alone.
  private let leavesTop: Bool

  /// Shows `nodes`, of which only the first may have a `floor`.
  init(
    _ nodes: [BlockNode], length: Int? = nil, floor: BlockNode? = nil, leavesTop: Bool = false
  ) {
    var start = 0
    var disks: [(node: BlockNode, start: Int)] = []
    for node in nodes {
      disks.append((node, start))
      start += node.length
    }
    self.disks = disks
    self.length = length ?? start
    self.floor = floor
    self.leavesTop = leavesTop
  }

  /// The run at the beginning of `range`.
  func run(_ range: ByteRange) async throws(BlockError) -> Run {
    guard let (node, part) = disk(range) else { return Run(kind: .zeros, count: range.count) }
    let answer = try await node.chainStatus(part, downTo: floor)
    if answer.status.isAllocated, answer.depth == 0, leavesTop {
      return Run(kind: .left, count: answer.count)
    }
    if answer.status.isZero { return Run(kind: .zeros, count: answer.count) }
    return Run(kind: answer.status.isAllocated ? .data : .left, count: answer.count)
  }

  /// Reads the bytes of `range`, whatever layers have them.
  func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError) {
    var done = 0
    while done < range.count {
      guard let (node, part) = disk(range.dropFirst(done)) else {
        buffer.fill(ByteRange(done, range.count), with: 0)
        return
      }
      var bytes = buffer.slice(ByteRange(offset: done, count: part.count))
      try await node.read(part, into: &bytes)
      done += part.count
    }
  }

  /// The disk that has the first byte of `range`, and what it has of it, in its own bytes.
  private func disk(_ range: ByteRange) -> (node: BlockNode, part: ByteRange)? {
    for (node, start) in disks.reversed() where start <= range.lower {
      let part = range.intersection(ByteRange(offset: start, count: node.length))
      if !part.isEmpty, part.lower == range.lower { return (node, part.relative(to: start)) }
    }
    return nil
  }
}
