public import BlockLayer

/// What an image says of itself: what `qemu-img info` prints.
///
/// Names in it are bytes from the file: print `description`, which is safe for a terminal, unless
/// the output is a machine's.
public struct ImageInformation: Hashable, Sendable {
  /// The virtual size in bytes.
  public var virtualSize: Int
  /// The cluster size in bytes.
  public var clusterSize: Int
  /// The version of the format; `compatibility` is QEMU's name for it.
  public var version: FormatVersion
  /// The width of refcounts in bits.
  public var refcountBits: Int
  /// Whether refcount updates may be postponed.
  public var hasLazyRefcounts: Bool
  /// Whether refcounts may be stale.
  public var isDirty: Bool
  /// Whether metadata is known to be inconsistent.
  public var isCorrupt: Bool
  /// Whether clusters have subclusters.
  public var hasExtendedL2: Bool
  /// The codec of compressed clusters, whether or not there are any.
  public var compressionType: CompressionType
  /// How guest data is encrypted.
  public var encryptionMethod: EncryptionMethod
  /// The name of the backing file; nil without one.
  public var backingFileName: EmbeddedName?
  /// The format of the backing file, if recorded.
  public var backingFormat: EmbeddedName?
  /// The external data file; nil where guest data is in the image.
  public var dataFile: DataFile?
  /// The persistent bitmaps, in the order of the directory.
  public var bitmaps: [Bitmap] = []
  /// The internal snapshots, in the order of their table.
  public var snapshots: [SnapshotTableEntry] = []
  /// The feature bits that are set, word by word.
  public var features: [SetFeature]
  /// The header extensions that this engine does not know.
  public var unknownExtensionCount: Int
  /// The tables that the header names and that cannot be where it says, a line each: the image
  /// cannot be opened.
  public var tableDefects: [String] = []
  /// What could not be read, a line each: the bitmaps or the snapshots are missing above.
  public var defects: [String] = []

  /// An external data file.
  public struct DataFile: Hashable, Sendable {
    /// The name; nil where the image does not say and the user must.
    public var name: EmbeddedName?
    /// Whether the file is byte for byte what the guest sees.
    public var isRaw: Bool
  }

  /// A persistent bitmap.
  public struct Bitmap: Hashable, Sendable {
    /// The name.
    public var name: EmbeddedName
    /// The granularity in bytes.
    public var granularity: Int
    /// The flags: QEMU prints them as `in-use` and `auto`, in this order.
    public var flags: BitmapFlags
  }

  /// QEMU's name of the version, its creation option `compat`: `0.10` or `1.1`.
  public var compatibility: String { version == .v2 ? "0.10" : "1.1" }

  /// The backing file as the block layer speaks of it.
  public var recordedBacking: RecordedBacking? {
    backingFileName.map { name in
      RecordedBacking(
        name: String(decoding: name.bytes, as: UTF8.self),
        format: backingFormat.map { String(decoding: $0.bytes, as: UTF8.self) })
    }
  }
}

extension ImageInformation {
  /// What the first cluster tells.
  init(_ cluster: HeaderCluster) {
    let header = cluster.header
    virtualSize = header.virtualSize
    clusterSize = header.clusterSize
    version = header.version
    refcountBits = header.geometry.refcountBits
    hasLazyRefcounts = header.compatibleFeatures.contains(.lazyRefcounts)
    isDirty = header.isDirty
    isCorrupt = header.isMarkedCorrupt
    hasExtendedL2 = header.geometry.hasExtendedL2
    compressionType = header.compressionType
    encryptionMethod = header.encryptionMethod
    backingFileName = cluster.backingFileName
    backingFormat = cluster.extensions.backingFormat
    if header.incompatibleFeatures.contains(.externalDataFile) {
      dataFile = DataFile(
        name: cluster.extensions.dataFileName,
        isRaw: header.autoclearFeatures.contains(.rawExternalData))
    }
    features = SetFeature.all(of: cluster)
    unknownExtensionCount = cluster.extensions.unknown.count
    if let defect = cluster.extensions.bitmapsDefect {
      defects.append(defect.warning(version: header.version))
    }
  }
}
