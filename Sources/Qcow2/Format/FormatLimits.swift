/// Every limit of the format engine's parsers, each with its reason.
///
/// "QEMU" means: QEMU 7.2 refuses more, so an image beyond it is of no use to anybody.
public enum FormatLimits {
  /// Smallest cluster: 512 bytes (the format's minimum).
  public static let minimumClusterBits = 9
  /// Largest cluster: 2 MiB (QEMU).
  ///
  /// It also bounds what is read before anything is trusted.
  public static let maximumClusterBits = 21
  /// A subcluster is at least a sector, so extended L2 entries need clusters of 16 KiB.
  public static let minimumSubclusterSize = 512
  /// Refcounts are at most 64 bits wide: order 6 (the format).
  public static let maximumRefcountOrder = 6

  /// The active L1 table, and that of each snapshot: 32 MiB, 4,194,304 entries (QEMU).
  ///
  /// It bounds the memory of an opened image and the virtual size.
  public static let maximumL1TableBytes = 32 << 20
  /// The refcount table: 8 MiB, 1,048,576 entries (QEMU).
  ///
  /// Read whole at opening.
  public static let maximumRefcountTableBytes = 8 << 20
  /// L1 entries that a virtual size may need before it is called too big at all (QEMU).
  public static let maximumL1EntriesForSize = Int(Int32.max)
  /// Host offsets have 56 bits: bits 9 to 55 of a table entry (the format).
  public static let maximumHostOffset = 1 << 56

  /// Backing file names: 1023 bytes (QEMU; the size of a path buffer).
  public static let maximumBackingNameBytes = 1023
  /// Backing format names: below 16 bytes (QEMU).
  public static let maximumBackingFormatBytes = 15
  /// Names of external data files: 1023 bytes, as for backing files.
  ///
  /// QEMU has no limit of its own.
  public static let maximumDataFileNameBytes = 1023

  /// Internal snapshots of an image (QEMU).
  public static let maximumSnapshots = 65536
  /// The snapshot table: 1024 bytes a snapshot (QEMU), 64 MiB.
  ///
  /// Bounds memory.
  public static let maximumSnapshotTableBytes = 1024 * maximumSnapshots
  /// Extra data of a snapshot table entry: 1024 bytes (QEMU).
  public static let maximumSnapshotExtraBytes = 1024
  /// Names of new snapshots: 255 bytes (QEMU; the size of its buffer).
  public static let maximumSnapshotNameBytes = 255

  /// Persistent bitmaps of an image (QEMU).
  public static let maximumBitmaps = 65535
  /// The bitmap directory: 1024 bytes a bitmap (QEMU), just below 64 MiB.
  ///
  /// Bounds memory.
  public static let maximumBitmapDirectoryBytes = 1024 * maximumBitmaps
  /// Bitmap names: 1023 bytes (QEMU).
  public static let maximumBitmapNameBytes = 1023
  /// Smallest granularity of a bitmap: 512 bytes (QEMU).
  public static let minimumGranularityBits = 9
  /// Largest granularity of a bitmap: 2 GiB (QEMU).
  public static let maximumGranularityBits = 31
  /// Entries of a bitmap's table (QEMU).
  public static let maximumBitmapTableEntries = 0x8000000
  /// Serialised bytes of one bitmap: 512 MiB (QEMU).
  ///
  /// Bounds the memory of loading one.
  public static let maximumBitmapBytes = 0x2000_0000
}
