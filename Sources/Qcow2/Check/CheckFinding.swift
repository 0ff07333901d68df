internal import BlockLayer
internal import Primitives

/// One thing that a check finds wrong.
///
/// Where `qemu-img check` reports the same, `message` is its text.
enum CheckFinding: Hashable, Sendable {
  // MARK: - Refcounts against references

  /// A cluster is counted more often than it is referred to.
  case leaked(cluster: Int, refcount: UInt64, references: UInt64)
  /// Clusters behind the file's end are counted, and nothing refers to them.
  case leakedBehindFile(count: Int, first: Int, last: Int)
  /// A cluster is referred to more often than it is counted: it may be given away while in use.
  case refcountTooLow(cluster: Int, refcount: UInt64, references: UInt64)
  /// A reference is one more than the width of refcounts can count.
  case refcountOverflow(offset: Int)
  /// The copied flag of an L1 entry of the active table contradicts the refcount.
  case copiedFlagOfTable(l1Index: Int, entry: UInt64, refcount: UInt64)
  /// The copied flag of an L2 entry of an active table contradicts the refcount.
  case copiedFlagOfData(entry: UInt64, refcount: UInt64)

  // MARK: - Structure of refcounts

  case refcountTableReservedBits(index: Int)
  case refcountBlockMisaligned(index: Int)
  case refcountBlockOutside(index: Int)
  /// Something else refers to a refcount block too.
  case refcountBlockShared(index: Int, references: UInt64)

  // MARK: - Places

  /// Something ends a cluster or more behind the file's end.
  case outsideFile(ByteRange)
  /// Two structures of the image stand on one cluster.
  case metadataOverlap(MetadataOwner, MetadataOwner, cluster: Int)
  /// Guest data stands on a cluster that holds metadata.
  case dataOnMetadata(offset: Int, MetadataOwner, guest: Int?)
  /// Two guest clusters of the active tree have one host cluster.
  case mappedTwice(offset: Int, guest: Int?)
  /// Several entries of the active L1 table name one L2 table.
  case tableMappedTwice(offset: Int, count: Int)

  // MARK: - Mapping entries

  case l1ReservedBits(entry: UInt64)
  case l1CopiedWithoutTable(l1Index: Int, entry: UInt64)
  case tableMisaligned(offset: Int)
  case l2ReservedBits(entry: UInt64)
  case clusterMisaligned(offset: Int, isZero: Bool)
  case zeroFlagInVersion2(entry: UInt64)
  case copiedWithoutCluster(entry: UInt64)
  case copiedCompressed(offset: Int)
  case compressedWithDataFile(l2Index: Int, entry: UInt64)
  case dataFileMismatch(offset: Int, guest: Int)
  /// A subcluster is both data and zeros.
  case subclustersContradict(offset: Int)
  /// Subclusters are data, and there is no host cluster.
  case subclustersWithoutCluster
  /// A compressed cluster has subclusters.
  case compressedWithSubclusters(l2Index: Int, entry: UInt64)

  // MARK: - Snapshots, bitmaps, encryption

  case snapshotIncomplete(index: Int)
  case snapshotExtraData(index: Int, byteCount: Int)
  /// The snapshot table is longer than it may be.
  case snapshotsTooMany(count: Int)
  case snapshotTableMisaligned(id: EmbeddedName, name: EmbeddedName, offset: Int)
  case snapshotTableTooLarge(id: EmbeddedName, name: EmbeddedName, entryCount: Int)
  case snapshotsWithDataFile(count: Int)
  /// The bitmaps extension or the bitmap directory is damaged.
  case bitmapsInvalid(String)
  case bitmapEntryInvalid(bitmap: EmbeddedName, index: Int, entry: UInt64)
  case bitmapTail(bitmap: EmbeddedName)
  case encryptionHeaderTooLarge(byteCount: Int)
}

extension CheckFinding {
  /// How bad it is.
  var kind: ImageCheck.Finding.Kind {
    switch self {
    case .leaked, .leakedBehindFile: .leak
    // Where the refcount is too low that is found by itself; else the next write separates them.
    case .mappedTwice, .tableMappedTwice: .notice
    default: .corruption
    }
  }

  /// Whether `qemu-img check` (7.2) does not report it, or refuses the image as a whole instead.
  var isBeyondQEMU: Bool {
    switch self {
    case .leakedBehindFile, .metadataOverlap, .dataOnMetadata, .mappedTwice, .tableMappedTwice,
      .l1CopiedWithoutTable, .zeroFlagInVersion2, .copiedWithoutCluster, .dataFileMismatch,
      .bitmapsInvalid, .bitmapEntryInvalid, .bitmapTail, .encryptionHeaderTooLarge:
      true
    default: false
    }
  }
}
