public import Primitives

/// A driver that can store clusters compressed.
public protocol CompressingImage: BlockDriver {
  /// Writes the clusters of `range`, compressed where that makes them smaller.
  ///
  /// The range begins at a cluster's start, and ends at one's or with the node. What the clusters
  /// held before is given up, as by a write.
  func writeCompressed(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError)
}

extension BlockNode {
  /// Whether `writeCompressed` may be called.
  public var isCompressing: Bool { driver is any CompressingImage }

  /// Writes the clusters of `range`, compressed where that makes them smaller.
  ///
  /// The range begins at a cluster's start, and ends at one's or with the node; `bytes` have its
  /// length. Throws `unsupported` where the driver does not compress. Whether or not it fails,
  /// every recording bitmap has the range set afterwards.
  public func writeCompressed(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    precondition(bytes.byteCount == range.count, "a buffer has its request's length")
    guard !range.isEmpty else { return }
    guard let image = driver as? any CompressingImage else {
      throw BlockError(
        .unsupported, "Compression not supported for this file format", node: name)
    }
    try checkWritable(range)
    let unit = max(limits.clusterSize, 1)
    guard range.lower.isAligned(to: unit), range.upper.isAligned(to: unit) || range.upper == length
    else {
      throw BlockError(
        .invalidArgument, "compressed writes cover whole clusters of \(unit) bytes", node: name,
        range: range)
    }
    defer { didWrite(range) }
    // A padded write of a block of it must not put old bytes back.
    let held = await holdBlocks(of: range)
    defer { letGo(held) }
    do {
      try await image.writeCompressed(range, from: bytes)
    } catch {
      throw error.at(node: name, range)
    }
  }
}
