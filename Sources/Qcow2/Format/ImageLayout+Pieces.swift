public import Primitives

extension ImageLayout {
  /// A stretch of the new file.
  public struct Piece: Hashable, Sendable {
    /// What stands there.
    ///
    /// Tables are told by what they consist of: those of a large disk are larger than memory.
    public enum Content: Hashable, Sendable {
      /// These bytes, as many as the range has.
      case bytes([UInt8])
      /// Zeros; nothing needs to be written where the file reads as zeros.
      case zeros
      /// Table entries, and zeros behind them.
      case entries(Entries)
      /// Refcounts of 1, 2^`order` bits wide, for `count` clusters, and of 0 for those behind.
      case refcounts(order: Int, count: Int)
      /// Space for the guest's data, which reads as zeros.
      case space
    }

    /// Big-endian entries, each greater than the one before by `step`.
    public struct Entries: Hashable, Sendable {
      /// The first entry.
      public let first: UInt64
      /// What each has more than the one before.
      public let step: Int
      /// How many there are.
      public let count: Int
      /// The size of an entry: 8 bytes, or 16 of which the last 8 are zero.
      public let entryByteCount: Int
    }

    /// The bytes of the file.
    public let range: ByteRange
    /// What stands there.
    public let content: Content

    init(_ range: ByteRange, _ content: Content) {
      self.range = range
      self.content = content
    }
  }
}

extension ImageLayout.Piece {
  /// The bytes that stand in `part` of the file, which lies in the piece and begins at a multiple
  /// of 16.
  public func bytes(_ part: ByteRange) -> [UInt8] {
    precondition(range.contains(part), "a piece knows its own bytes alone")
    let inPiece = part.relative(to: range.lower)
    switch content {
    case .bytes(let all): return Array(all[inPiece.lower..<inPiece.upper])
    case .zeros, .space: return [UInt8](repeating: 0, count: part.count)
    case .entries(let entries): return entries.bytes(inPiece)
    case .refcounts(let order, let count):
      var bytes = [UInt8](repeating: 0, count: part.count)
      let block = RefcountBlock(order: order)
      let first = block.entryCount(byteCount: inPiece.lower)
      let end = min(count, first + block.entryCount(byteCount: part.count))
      var elements = bytes.mutableSpan
      var span = elements.mutableBytes
      for index in first..<max(first, end) { block.store(1, at: index - first, in: &span) }
      return bytes
    }
  }
}

extension ImageLayout.Piece.Entries {
  fileprivate func bytes(_ part: ByteRange) -> [UInt8] {
    var output = ByteAppender()
    let indices = ByteRange(part.lower, part.upper.roundedUp(to: entryByteCount))
    for index in indices.lower / entryByteCount..<indices.upper / entryByteCount {
      output.append(index < count ? first + UInt64(index * step) : 0)
      output.append(zeros: entryByteCount - 8)
    }
    return Array(output.bytes.prefix(part.count))
  }
}
