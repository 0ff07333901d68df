internal import BlockLayer
internal import Primitives

/// Reading compressed clusters.
extension Qcow2Driver {
  /// Fills `part` with the bytes from `offset` on of a compressed cluster.
  ///
  /// For requests that are in the epoch of their lookup. No lock is held: as many clusters are
  /// decompressed at a time as there are requests.
  func readCompressed(
    _ descriptor: CompressedDescriptor, from offset: Int, into part: inout MutableRawSpan
  ) async throws(BlockError) {
    let wanted = ByteRange(offset: offset, count: part.byteCount)
    if let known = decompressed.cluster(of: descriptor) {
      part.copy(from: known.span.bytes.slice(wanted))
      return
    }
    if part.byteCount == geometry.clusterSize {
      // Who reads whole clusters does not come back for the rest.
      try await decompress(descriptor, into: &part)
      return
    }
    var cluster = [UInt8](repeating: 0, count: geometry.clusterSize)
    var span = cluster.mutableSpan
    var bytes = span.mutableBytes
    try await decompress(descriptor, into: &bytes)
    part.copy(from: cluster.span.bytes.slice(wanted))
    decompressed.insert(cluster, of: descriptor)
  }

  /// Reads a stream, to the end of its last sector, and decompresses it; beyond the file's end
  /// there are zeros.
  private func decompress(
    _ descriptor: CompressedDescriptor, into cluster: inout MutableRawSpan
  ) async throws(BlockError) {
    let range = descriptor.readableRange
    let node = file.node
    guard range.lower < node.length else {
      throw .corruption(
        "the compressed cluster at offset 0x\(String(range.lower, radix: 16)) is outside the file "
          + "of \(node.length) bytes")
    }
    await raise(.readCompressed)
    var buffer = IOBuffer(byteCount: range.count)
    var stream = buffer.mutableBytes
    try await node.read(range, into: &stream)
    try codec.decompress(stream.bytes, at: descriptor.hostOffset, into: &cluster)
  }
}
