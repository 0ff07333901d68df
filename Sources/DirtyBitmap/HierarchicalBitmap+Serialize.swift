public import Primitives

/// The bits as bytes, in the order of qcow2's bitmap data ("Bitmap data" of the qcow2
/// specification): bit i in byte i / 8, at bit i % 8 from the least significant; bits beyond the
/// last granule clear; 8-byte words. Any piece of whole words can be written or read by itself.
extension HierarchicalBitmap {
  /// What is in a piece of the serialised form.
  public enum ChunkContent: Sendable {
    /// No granule is set (or the piece lies beyond the last one).
    case allZero
    /// Every granule that the piece has a bit for is set.
    case allOne
    /// Some are set.
    case mixed
  }

  /// The length of the serialised form in bytes: a multiple of 8; 0 for an empty disk.
  public var serializedByteCount: Int { granuleCount.dividedRoundingUp(by: 64) * 8 }

  /// What the bytes `range` of the serialised form hold, found without scanning them.
  ///
  /// O(levels).
  ///
  /// A piece that is `.allOne` and reaches beyond the last granule has clear bits at its end when
  /// it is written out.
  public func chunkContent(_ range: ByteRange) -> ChunkContent {
    let (lower, upper) = granulesOfChunk(range)
    if words.firstSet(lower, upper) == upper { return .allZero }
    return words.firstClear(lower, upper) == upper ? .allOne : .mixed
  }

  /// Writes the bytes of the serialised form from `offset` on to all of `target`; what lies beyond
  /// its end is zero.
  ///
  /// Both lengths must be multiples of 8. O(bytes), at the speed of memory.
  public func serialize(atByte offset: Int, into target: inout MutableRawSpan) {
    precondition(
      offset >= 0 && offset.isAligned(to: 8) && target.byteCount.isAligned(to: 8),
      "pieces of the serialised form are whole words of 8 bytes")
    let available = max(0, serializedByteCount - offset)
    let count = min(target.byteCount, available)
    target.withUnsafeMutableBytes { bytes in
      guard let base = bytes.baseAddress else { return }
      words.store(offset &>> 3, (offset + count) &>> 3, to: base)
      let rest = UnsafeMutableRawBufferPointer(rebasing: bytes[count...])
      rest.initializeMemory(as: UInt8.self, repeating: 0)
    }
  }

  /// Replaces the granules that the bytes `source` of the serialised form, from `offset` on, stand
  /// for.
  ///
  /// Both lengths must be multiples of 8. Summaries and count are kept. O(bytes).
  ///
  /// Returns true when a bit beyond the last granule is set there; such bits are dropped.
  @discardableResult
  public func deserialize(from source: RawSpan, atByte offset: Int) -> Bool {
    precondition(
      offset >= 0 && offset.isAligned(to: 8) && source.byteCount.isAligned(to: 8),
      "pieces of the serialised form are whole words of 8 bytes")
    let count = min(source.byteCount, max(0, serializedByteCount - offset))
    let hasExcess = source.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress, count > 0 else { return false }
      return words.load(offset &>> 3, (offset + count) &>> 3, from: base)
    }
    return hasExcess || !source.slice(ByteRange(count, source.byteCount)).isZero
  }

  /// Clears the granules that the bytes `range` of the serialised form stand for.
  ///
  /// O(levels).
  public func deserializeZeroes(_ range: ByteRange) { assignChunk(range, false) }

  /// Sets the granules that the bytes `range` of the serialised form stand for.
  ///
  /// O(levels).
  public func deserializeOnes(_ range: ByteRange) { assignChunk(range, true) }

  private func assignChunk(_ range: ByteRange, _ value: Bool) {
    let (lower, upper) = granulesOfChunk(range)
    words.assign(value, lower, upper)
  }

  /// The granules that bytes of the serialised form stand for.
  private func granulesOfChunk(_ range: ByteRange) -> (lower: Int, upper: Int) {
    // Clipped first: eight times a byte beyond the end may not be a number.
    let bytes = range.intersection(ByteRange(0, serializedByteCount))
    return (min(bytes.lower &<< 3, granuleCount), min(bytes.upper &<< 3, granuleCount))
  }
}
