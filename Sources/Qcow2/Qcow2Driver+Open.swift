public import BlockLayer
internal import Primitives
internal import Synchronization

extension Qcow2Driver {
  /// Opens the image in `node`, and through the context's gate its backing file.
  ///
  /// Nothing is written, not even by an opener that may write, before its first change; but an
  /// image that is marked dirty is repaired. Throws
  /// `invalidImage` with QEMU's texts for what contradicts the format, and `unsupported` for what
  /// this engine does not have.
  public static func open(_ node: BlockNode, _ context: OpenContext) async throws(BlockError)
    -> Qcow2Driver
  {
    let isReadOnly = context.options.isReadOnly
    let purpose: OpenPurpose =
      context.options.isForCheck ? .check : isReadOnly ? .readOnly : .readWrite
    var cluster = try await readHeader(of: node, for: purpose)
    if let feature = cluster.unsupportedFeatures(for: purpose).first { throw .unsupported(feature) }
    if purpose != .check, let defect = cluster.regionDefects(fileByteCount: node.length).first {
      throw BlockError(defect)
    }
    if purpose == .check { return try openForCheck(cluster, in: node) }
    if purpose == .readWrite, cluster.header.isDirty {
      cluster = try await repairDirty(cluster, in: node)
    }
    let header = cluster.header
    if let reference = context.options.snapshot {
      let view = try await view(of: cluster, at: reference, in: node)
      return try await make(
        Tables(header: view.cluster, l1: view.l1, refcountTable: [], fileLength: node.length),
        in: node, context)
    }
    let l1 = try await readTable(header.l1TableRange, of: node)
    if !isReadOnly { await node.raise(.reftableLoad) }
    let refcountTable = isReadOnly ? [] : try await readTable(header.refcountTableRange, of: node)
    let tables = Tables(
      header: cluster, l1: l1, refcountTable: refcountTable, fileLength: node.length)
    // A writer could not keep snapshots that it does not know.
    let snapshots = isReadOnly ? nil : try await readSnapshots(of: header, in: node)
    let driver = try await make(tables, in: node, context)
    driver.snapshotTable.withLock { $0 = snapshots }
    return driver
  }

  /// A driver with what its image names, opened through the context's gate.
  private static func make(
    _ tables: consuming sending Tables, in node: BlockNode, _ context: OpenContext
  ) async throws(BlockError) -> Qcow2Driver {
    let cluster = tables.header
    var edges = [try BlockEdge(.file, to: node)]
    do throws(BlockError) {
      let dataFile = try await openDataFile(cluster, context)
      if let dataFile { edges.append(dataFile) }
      let backing = try await openBacking(cluster, context)
      return Qcow2Driver(
        file: edges[0], backing: backing, dataFile: dataFile, tables: tables,
        isReadOnly: context.options.isReadOnly)
    } catch {
      for edge in edges { edge.detach() }
      throw error
    }
  }

  /// A driver that has nothing but the header in memory, follows nothing, and serves no guest.
  private static func openForCheck(
    _ cluster: HeaderCluster, in node: BlockNode
  ) throws(BlockError) -> Qcow2Driver {
    let tables = Tables(header: cluster, l1: [], refcountTable: [], fileLength: node.length)
    return Qcow2Driver(
      file: try BlockEdge(.file, to: node), backing: nil, tables: tables, isReadOnly: true,
      isForCheck: true)
  }

  /// Whether a file that begins with `head` is a qcow2 image.
  public static func recognises(_ head: RawSpan) -> Bool {
    guard head.byteCount >= 8, head.bigEndian(UInt32.self, at: 0) == 0x5146_49fb else {
      return false
    }
    return (2...3).contains(head.bigEndian(UInt32.self, at: 4))
  }

  /// Reads the first cluster of an image and checks what it alone can tell.
  ///
  /// Follows nothing.
  static func readHeader(of node: BlockNode, for purpose: OpenPurpose) async throws(BlockError)
    -> HeaderCluster
  {
    var head = IOBuffer(byteCount: 512)
    var bytes = head.mutableBytes
    try await node.read(ByteRange(0, 512), into: &bytes)
    let start = bytes.bytes
    let clusterSize = try parsing { () throws(Qcow2FormatError) in
      try Header.clusterSize(ofImageStarting: start)
    }
    var buffer = IOBuffer(byteCount: clusterSize)
    var whole = buffer.mutableBytes
    try await node.read(ByteRange(0, clusterSize), into: &whole)
    let all = whole.bytes
    return try parsing { () throws(Qcow2FormatError) in
      try HeaderCluster.parse(all, for: purpose)
    }
  }

  /// Reads a table of 8-byte entries, whose size was checked; it may end beyond the file's end.
  static func readTable(_ range: ByteRange?, of node: BlockNode) async throws(BlockError)
    -> [UInt64]
  {
    guard let range, !range.isEmpty else { return [] }
    var buffer = IOBuffer(byteCount: range.count)
    var bytes = buffer.mutableBytes
    try await node.read(range, into: &bytes)
    return decodeTable(bytes.bytes)
  }

  private static func openDataFile(
    _ cluster: HeaderCluster, _ context: OpenContext
  ) async throws(BlockError) -> BlockEdge? {
    guard cluster.header.incompatibleFeatures.contains(.externalDataFile) else {
      guard case .fromImage = context.options.dataFile else {
        throw BlockError(
          .invalidArgument,
          "'data-file' can only be set for images with an external data file")
      }
      return nil
    }
    let name = cluster.extensions.dataFileName.map { String(decoding: $0.bytes, as: UTF8.self) }
    return try BlockEdge(.dataFile, to: try await context.openDataFile(name))
  }

  private static func openBacking(
    _ cluster: HeaderCluster, _ context: OpenContext
  ) async throws(BlockError) -> BlockEdge? {
    if case .node(let node) = context.options.backing {
      return try BlockEdge(.backing, to: node)
    }
    guard let recorded = cluster.recordedBacking else { return nil }
    guard let node = try await context.openBacking(recorded) else { return nil }
    return try BlockEdge(.backing, to: node)
  }
}

extension HeaderCluster {
  /// The backing file as the block layer speaks of it.
  var recordedBacking: RecordedBacking? {
    backingFileName.map { name in
      RecordedBacking(
        name: String(decoding: name.bytes, as: UTF8.self),
        format: extensions.backingFormat.map { String(decoding: $0.bytes, as: UTF8.self) })
    }
  }
}
