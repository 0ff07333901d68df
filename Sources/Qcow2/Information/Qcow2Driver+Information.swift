public import BlockLayer
internal import Execution
internal import Primitives
internal import Synchronization

extension Qcow2Driver {
  /// What the image says of itself, as its file has it now.
  ///
  /// Bitmaps that a running writer has claimed are shown in use.
  public func information() async throws(BlockError) -> ImageInformation {
    try await Self.information(of: file.node)
  }

  /// What the image in `node` says of itself; it need not be one that this engine can open.
  ///
  /// Its `violations` sum up what is dangerous about it.
  ///
  /// Follows no reference out of the file, writes nothing, and needs no key. A damaged snapshot
  /// table or bitmap directory is told in `defects`. Throws `invalidImage` or `unsupported`, with
  /// QEMU's texts, when the header is none, and what reading throws. Reads the first cluster, the
  /// snapshot table and the bitmap directory.
  public static func information(of node: BlockNode) async throws(BlockError)
    -> ImageInformation
  {
    let cluster = try await readHeader(of: node, for: .check)
    var information = ImageInformation(cluster)
    information.tableDefects = cluster.regionDefects(fileByteCount: node.length).map(\.message)
    do throws(BlockError) {
      information.bitmaps = try await bitmaps(of: cluster, in: node)
    } catch {
      guard error.code == .invalidImage else { throw error }
      information.defects.append(error.message)
    }
    do throws(BlockError) {
      information.snapshots = try await readSnapshots(of: cluster.header, in: node).entries
    } catch {
      guard error.code == .invalidImage else { throw error }
      information.defects.append(error.message)
    }
    return information
  }

  private static func bitmaps(
    of cluster: HeaderCluster, in node: BlockNode
  ) async throws(BlockError) -> [ImageInformation.Bitmap] {
    guard let stored = cluster.extensions.bitmaps, let range = stored.directoryRange else {
      return []
    }
    let bytes = try await readMetadata(range, of: node)
    let entries = try parsing { () throws(Qcow2FormatError) in
      try BitmapDirectory.parse(
        bytes.span.bytes, bitmapCount: stored.bitmapCount, geometry: cluster.header.geometry,
        virtualSize: cluster.header.virtualSize)
    }
    return entries.map { entry in
      ImageInformation.Bitmap(
        name: entry.name, granularity: entry.granularity, flags: entry.flags)
    }
  }

  /// Reads bytes that the header names; memory follows what the file holds, not what it claims.
  private static func readMetadata(
    _ range: ByteRange, of node: BlockNode
  ) async throws(BlockError) -> [UInt8] {
    var bytes: [UInt8] = []
    var rest = range
    while !rest.isEmpty {
      let piece = rest.prefix(1 << 16)
      var buffer = IOBuffer(byteCount: piece.count)
      var part = buffer.mutableBytes
      try await node.read(piece, into: &part)
      bytes += part.bytes.toArray()
      // No entry of a directory is that long without a byte that is not zero.
      if piece.count == 1 << 16, part.bytes.isZero { break }
      rest = rest.dropFirst(piece.count)
    }
    return bytes
  }
}
