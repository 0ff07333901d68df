public import Primitives

/// The header of an image, checked (qcow2 specification, "Header").
///
/// Where the backing file's name lies is not part of it: `HeaderCluster` has the name itself.
public struct Header: Hashable, Sendable {
  /// Bytes 4–7.
  public var version: FormatVersion
  /// Bytes 20–23: the exponent of the cluster size.
  public var clusterBits: Int
  /// Bytes 24–31: the virtual size in bytes, rounded down to 512 when read.
  public var virtualSize: Int
  /// Bytes 32–35.
  public var encryptionMethod: EncryptionMethod
  /// Bytes 36–39: entries of the active L1 table; may be more than the virtual size needs.
  public var l1EntryCount: Int
  /// Bytes 40–47: the active L1 table; 0 where it has no entries.
  public var l1TableOffset: HostOffset
  /// Bytes 48–55: the refcount table.
  public var refcountTableOffset: HostOffset
  /// Bytes 56–59: its size in clusters; 0 only in an image opened for checking.
  public var refcountTableClusters: Int
  /// Bytes 60–63: internal snapshots.
  public var snapshotCount: Int
  /// Bytes 64–71: the snapshot table; without meaning where there are no snapshots.
  public var snapshotTableOffset: HostOffset
  /// Bytes 72–79 of version 3.
  public var incompatibleFeatures: IncompatibleFeatures
  /// Bytes 80–87 of version 3.
  public var compatibleFeatures: CompatibleFeatures
  /// Bytes 88–95 of version 3.
  public var autoclearFeatures: AutoclearFeatures
  /// Bytes 96–99 of version 3: the exponent of the refcounts' width in bits; 4 in version 2.
  public var refcountOrder: Int
  /// Byte 104 of a version 3 header longer than 104 bytes.
  public var compressionType: CompressionType
  /// What follows byte 111 up to the header's length: fields of later versions, kept as they are.
  public var unknownTail: [UInt8]

  /// Makes the header of a new, empty image whose tables are still to be placed.
  public init(version: FormatVersion, geometry: Geometry, virtualSize: Int) {
    self.version = version
    self.clusterBits = geometry.clusterBits
    self.virtualSize = virtualSize
    self.encryptionMethod = .none
    self.l1EntryCount = 0
    self.l1TableOffset = .zero
    self.refcountTableOffset = .zero
    self.refcountTableClusters = 0
    self.snapshotCount = 0
    self.snapshotTableOffset = .zero
    self.incompatibleFeatures = geometry.hasExtendedL2 ? .extendedL2 : []
    self.compatibleFeatures = []
    self.autoclearFeatures = []
    self.refcountOrder = geometry.refcountOrder
    self.compressionType = .deflate
    self.unknownTail = []
  }
}

extension Header {
  /// The sizes that follow from the header.
  public var geometry: Geometry {
    Geometry(
      clusterBits: clusterBits, refcountOrder: refcountOrder,
      hasExtendedL2: incompatibleFeatures.contains(.extendedL2))
  }

  /// The cluster size in bytes.
  public var clusterSize: Int { 1 << clusterBits }

  /// Whether refcounts may be stale: a writer must repair them before the first allocation.
  public var isDirty: Bool { incompatibleFeatures.contains(.dirty) }

  /// Whether metadata is known to be inconsistent: the image must not be written.
  public var isMarkedCorrupt: Bool { incompatibleFeatures.contains(.corrupt) }

  /// The autoclear bits that this engine does not know: a writer clears them before its first
  /// change.
  public var unknownAutoclearFeatures: AutoclearFeatures {
    autoclearFeatures.subtracting(.known)
  }

  /// The length of the header on disk, as this engine writes it: 72 bytes in version 2; in
  /// version 3 112 and the unknown tail, padded to 8.
  public var byteCount: Int {
    guard version == .v3 else { return HeaderFields.version2Length }
    return HeaderFields.version3Length + unknownTail.count.roundedUp(to: 8)
  }

  /// The bytes of the active L1 table in the file; nil when its end is beyond `Int.max`, which a
  /// parsed header's is not.
  public var l1TableRange: ByteRange? {
    ByteRange(checkedOffset: l1TableOffset.value, count: l1EntryCount * 8)
  }

  /// The bytes of the refcount table in the file; nil when its end is beyond `Int.max`, which a
  /// parsed header's is not.
  public var refcountTableRange: ByteRange? {
    ByteRange(
      checkedOffset: refcountTableOffset.value, count: refcountTableClusters << clusterBits)
  }
}

extension Header {
  /// The fields as they go to disk, with the backing file's name at `backingName`.
  func fields(backingName: ByteRange?) -> HeaderFields {
    var fields = HeaderFields(blank: version)
    fields.backingNameOffset = UInt64(backingName?.lower ?? 0)
    fields.backingNameSize = UInt32(backingName?.count ?? 0)
    fields.clusterBits = UInt32(clusterBits)
    fields.size = UInt64(virtualSize)
    fields.encryptionMethod = UInt32(encryptionMethod.rawValue)
    fields.l1Size = UInt32(l1EntryCount)
    fields.l1TableOffset = UInt64(l1TableOffset.value)
    fields.refcountTableOffset = UInt64(refcountTableOffset.value)
    fields.refcountTableClusters = UInt32(refcountTableClusters)
    fields.snapshotCount = UInt32(snapshotCount)
    fields.snapshotTableOffset = UInt64(snapshotTableOffset.value)
    guard version == .v3 else { return fields }
    fields.incompatibleFeatures = incompatibleFeatures.rawValue
    fields.compatibleFeatures = compatibleFeatures.rawValue
    fields.autoclearFeatures = autoclearFeatures.rawValue
    fields.refcountOrder = UInt32(refcountOrder)
    fields.headerLength = UInt32(byteCount)
    fields.compressionType = UInt8(compressionType.rawValue)
    return fields
  }
}
