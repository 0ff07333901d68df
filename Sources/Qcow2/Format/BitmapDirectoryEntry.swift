public import Primitives

/// Flags of a bitmap in the directory: bytes 12–15 of its entry (qcow2 specification, "Bitmap
/// directory").
public struct BitmapFlags: OptionSet, Hashable, Sendable {
  /// The 32 bits of the field.
  public let rawValue: UInt32

  /// Makes the set that a field holds.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// Bit 0: the bitmap is, or was when its writer died, being changed in memory: what the file has
  /// of it is worthless.
  public static let inUse = BitmapFlags(rawValue: 1 << 0)
  /// Bit 1: the bitmap records writes.
  public static let auto = BitmapFlags(rawValue: 1 << 1)
  /// The bits this engine handles.
  ///
  /// Bit 2, "extra data compatible", is not among them, as in QEMU.
  static let known: BitmapFlags = [.inUse, .auto]
}

/// One bitmap in the bitmap directory (qcow2 specification, "Bitmap directory").
///
/// On disk: table offset (0, u64), table entries (8, u32), flags (12, u32), type (16, u8),
/// granularity bits (17, u8), name length (18, u16), extra data length (20, u32), extra data, name,
/// zeros to a multiple of 8.
public struct BitmapDirectoryEntry: Hashable, Sendable {
  /// The place of the bitmap's table, cluster-aligned.
  public var tableOffset: HostOffset
  /// The number of entries of the table.
  public var tableEntryCount: Int
  /// The flags.
  public var flags: BitmapFlags
  /// The exponent of the granularity in bytes: 9 to 31.
  public var granularityBits: Int
  /// The name: 1 to 1023 bytes, unique in the image.
  public var name: EmbeddedName

  static let fixedByteCount = 24
  static let dirtyTrackingType: UInt8 = 1

  /// Makes the entry of its parts.
  public init(
    name: EmbeddedName, granularityBits: Int, flags: BitmapFlags, tableOffset: HostOffset,
    tableEntryCount: Int
  ) {
    self.name = name
    self.granularityBits = granularityBits
    self.flags = flags
    self.tableOffset = tableOffset
    self.tableEntryCount = tableEntryCount
  }

  /// The granularity in bytes.
  public var granularity: Int { 1 << granularityBits }

  /// The bytes of the bitmap's table in the file; nil when its end is beyond `Int.max`.
  public var tableRange: ByteRange? {
    ByteRange(checkedOffset: tableOffset.value, count: tableEntryCount * 8)
  }

  /// The size on disk with padding.
  public var byteCount: Int { (Self.fixedByteCount + name.bytes.count).roundedUp(to: 8) }

  /// Appends the entry, padded.
  func append(to output: inout ByteAppender) {
    output.append(UInt64(tableOffset.value))
    output.append(UInt32(tableEntryCount))
    output.append(flags.rawValue)
    output.append(Self.dirtyTrackingType)
    output.append(UInt8(granularityBits))
    output.append(UInt16(name.bytes.count))
    output.append(UInt32(0))
    output.append(bytes: name.bytes)
    output.pad(to: 8)
  }
}
