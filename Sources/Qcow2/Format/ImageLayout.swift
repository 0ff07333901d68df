public import Primitives

/// The first bytes of a new image, computed before anything is written.
///
/// Header, refcount table, refcount blocks and L1 table stand one after the other from cluster 0,
/// each in whole clusters; the file ends with the L1 table's last entry.
public struct ImageLayout: Hashable, Sendable {
  /// A stretch of the new file.
  public struct Piece: Hashable, Sendable {
    /// What stands there.
    public enum Content: Hashable, Sendable {
      /// These bytes, as many as the range has.
      case bytes([UInt8])
      /// Zeros; nothing needs to be written where the file reads as zeros.
      case zeros
    }

    /// The bytes of the file.
    public let range: ByteRange
    /// What stands there.
    public let content: Content
  }

  /// What the first cluster says.
  public let headerCluster: HeaderCluster
  /// What to write, in this order: the header is last, so that a half-made file is no image.
  public let pieces: [Piece]
  /// The length of the file.
  public let fileByteCount: Int

  /// Computes the layout of an image with `options`.
  ///
  /// Throws for options that the format cannot express, with QEMU's texts, and when the backing
  /// file's name does not fit into the header.
  public init(_ options: NewImageOptions) throws(Qcow2FormatError) {
    let geometry = try options.geometry()
    let plan = InitialClusters(geometry: geometry, virtualSize: options.virtualSize)
    headerCluster = Self.headerCluster(options, geometry, plan)
    let header = try headerCluster.serialize()
    fileByteCount = plan.fileByteCount
    let tables = [
      Piece(plan.refcountTable, .bytes(plan.refcountTableBytes())),
      Piece(plan.refcountBlocks, .bytes(plan.refcountBlockBytes())),
      Piece(plan.l1Table, .zeros),
    ]
    pieces =
      tables.filter { !$0.range.isEmpty }
      + [Piece(ByteRange(0, geometry.clusterSize), .bytes(header))]
  }

  private static func headerCluster(
    _ options: NewImageOptions, _ geometry: Geometry, _ plan: InitialClusters
  ) -> HeaderCluster {
    var header = Header(
      version: options.version, geometry: geometry, virtualSize: options.virtualSize)
    header.l1EntryCount = plan.l1EntryCount
    header.l1TableOffset = plan.l1EntryCount == 0 ? .zero : HostOffset(plan.l1Table.lower)
    header.refcountTableOffset = HostOffset(plan.refcountTable.lower)
    header.refcountTableClusters = plan.refcountTableClusters
    header.compressionType = options.compressionType
    if options.compressionType != .deflate { header.incompatibleFeatures.insert(.compressionType) }
    if options.hasLazyRefcounts { header.compatibleFeatures.insert(.lazyRefcounts) }
    var extensions = HeaderExtensions()
    extensions.backingFormat = options.backingFormat
    // As QEMU does: small clusters have better uses for the space.
    if options.version == .v3, geometry.clusterSize > 4096 {
      extensions.featureNames = FeatureName.standard
    }
    return HeaderCluster(
      header: header, extensions: extensions, backingFileName: options.backingFileName)
  }
}

extension ImageLayout.Piece {
  fileprivate init(_ range: ByteRange, _ content: Content) {
    self.range = range
    self.content = content
  }
}

/// How many clusters each structure of a new image takes.
struct InitialClusters {
  let geometry: Geometry
  let l1EntryCount: Int
  let l1Clusters: Int
  private(set) var refcountTableClusters = 1
  private(set) var refcountBlockCount = 1

  init(geometry: Geometry, virtualSize: Int) {
    self.geometry = geometry
    l1EntryCount = geometry.l1EntryCount(forSize: virtualSize)
    l1Clusters = geometry.clusterCount(forBytes: l1EntryCount * 8)
    // Blocks and table count themselves: grow both until they count everything. The L1 table's
    // limit of 32 MiB bounds this to a handful of rounds.
    while true {
      let blocks = clusterCount.dividedRoundingUp(by: geometry.entriesPerRefcountBlock)
      let tableClusters = geometry.clusterCount(forBytes: blocks * 8)
      if blocks <= refcountBlockCount, tableClusters <= refcountTableClusters { return }
      refcountBlockCount = max(blocks, refcountBlockCount)
      refcountTableClusters = max(tableClusters, refcountTableClusters)
    }
  }

  /// All clusters in use.
  var clusterCount: Int { 1 + refcountTableClusters + refcountBlockCount + l1Clusters }

  var refcountTable: ByteRange { range(1, refcountTableClusters) }

  var refcountBlocks: ByteRange { range(1 + refcountTableClusters, refcountBlockCount) }

  /// The L1 table's entries, not rounded to clusters.
  var l1Table: ByteRange { ByteRange(offset: refcountBlocks.upper, count: l1EntryCount * 8) }

  var fileByteCount: Int { l1Table.upper }

  private func range(_ first: Int, _ count: Int) -> ByteRange {
    ByteRange(offset: first * geometry.clusterSize, count: count * geometry.clusterSize)
  }

  /// The refcount table: an entry a block.
  func refcountTableBytes() -> [UInt8] {
    var output = ByteAppender()
    for index in 0..<refcountBlockCount {
      let block = HostOffset(refcountBlocks.lower + index * geometry.clusterSize)
      output.append(RefcountTableEntry(block: block).rawValue)
    }
    output.pad(to: refcountTable.count)
    return output.bytes
  }

  /// The refcount blocks, one behind the other: a count of 1 for every cluster in use.
  func refcountBlockBytes() -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: refcountBlocks.count)
    let block = RefcountBlock(order: geometry.refcountOrder)
    var elements = bytes.mutableSpan
    var span = elements.mutableBytes
    // Blocks follow each other, so one index counts through all of them.
    for index in 0..<clusterCount { block.store(1, at: index, in: &span) }
    return bytes
  }
}
