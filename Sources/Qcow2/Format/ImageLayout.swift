internal import Primitives

/// The bytes of a new image, computed before anything is written.
///
/// Header, refcount table, refcount blocks and L1 table stand one after the other from cluster 0,
/// each in whole clusters; the file ends with the L1 table's last entry. Where everything is mapped
/// from the beginning, all L2 tables follow, and then the clusters that they name, in the guest's
/// order.
public struct ImageLayout: Hashable, Sendable {
  /// What the first cluster says.
  public let headerCluster: HeaderCluster
  /// What to write, in this order: the header is last, so that a half-made file is no image.
  public let pieces: [Piece]
  /// The length of the file.
  public let fileByteCount: Int

  /// Computes the layout of an image with `options`.
  ///
  /// Throws for options that the format cannot express, with QEMU's texts, and when the names of
  /// other files do not fit into the header.
  public init(_ options: NewImageOptions) throws(Qcow2FormatError) {
    let geometry = try options.geometry()
    let plan = try InitialClusters(geometry: geometry, options)
    headerCluster = Self.headerCluster(options, geometry, plan)
    let header = try headerCluster.serialize()
    fileByteCount = plan.fileByteCount
    let tables = [
      Piece(plan.refcountTable, .entries(plan.refcountTableEntries)),
      Piece(
        plan.refcountBlocks,
        .refcounts(order: geometry.refcountOrder, count: plan.clusterCount)),
      Piece(plan.l1Table, plan.l2TableCount == 0 ? .zeros : .entries(plan.l1Entries)),
      Piece(plan.l2Tables, .entries(plan.l2Entries)),
      Piece(plan.space, .space),
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
    if options.dataFileName != nil { header.incompatibleFeatures.insert(.externalDataFile) }
    if options.hasLazyRefcounts { header.compatibleFeatures.insert(.lazyRefcounts) }
    if options.isDataFileRaw { header.autoclearFeatures.insert(.rawExternalData) }
    var extensions = HeaderExtensions()
    extensions.backingFormat = options.backingFormat
    extensions.dataFileName = options.dataFileName
    // As QEMU does: small clusters have better uses for the space.
    if options.version == .v3, geometry.clusterSize > 4096 {
      extensions.featureNames = FeatureName.standard
    }
    return HeaderCluster(
      header: header, extensions: extensions, backingFileName: options.backingFileName)
  }
}
