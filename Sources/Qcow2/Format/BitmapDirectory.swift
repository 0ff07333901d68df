internal import Primitives

/// The bitmap directory: the list of an image's persistent bitmaps (qcow2 specification, "Bitmap
/// directory").
public enum BitmapDirectory {
  /// Reads the directory and checks all that it alone can tell, with QEMU's texts.
  ///
  /// `bytes` is the directory, as long as the extension says; `bitmapCount` what the extension
  /// says. `virtualSize` decides how many entries the table of a bitmap must have that is not in
  /// use. Beyond QEMU, a name that stands twice is refused here.
  public static func parse(
    _ bytes: RawSpan, bitmapCount: Int, geometry: Geometry, virtualSize: Int
  ) throws(Qcow2FormatError) -> [BitmapDirectoryEntry] {
    try checkByteCount(bytes.byteCount)
    var entries: [BitmapDirectoryEntry] = []
    var names: Set<EmbeddedName> = []
    var position = 0
    while position < bytes.byteCount {
      let record = try BitmapDirectoryRecord(at: position, in: bytes)
      guard entries.count < bitmapCount else {
        throw invalid("More bitmaps found than specified in header extension")
      }
      guard record.extraByteCount == 0 else {
        throw invalid("Bitmap extra data is not supported")
      }
      let entry = try record.checked(geometry: geometry, virtualSize: virtualSize)
      guard names.insert(entry.name).inserted else {
        throw invalid("Bitmap '\(entry.name)' appears more than once in the bitmap directory")
      }
      entries.append(entry)
      position += record.byteCount
    }
    guard entries.count == bitmapCount else {
      throw invalid("Less bitmaps found than specified in header extension")
    }
    return entries
  }

  /// The directory on disk.
  ///
  /// Throws when it is beyond QEMU's limits.
  public static func serialize(
    _ entries: [BitmapDirectoryEntry]
  ) throws(Qcow2FormatError) -> [UInt8] {
    guard entries.count <= FormatLimits.maximumBitmaps else {
      throw Qcow2FormatError(.tooLarge, "Too many persistent bitmaps")
    }
    var output = ByteAppender()
    for entry in entries {
      precondition(
        !entry.name.isEmpty && entry.name.bytes.count <= FormatLimits.maximumBitmapNameBytes,
        "a bitmap's name has 1 to 1023 bytes")
      entry.append(to: &output)
    }
    guard output.bytes.count <= FormatLimits.maximumBitmapDirectoryBytes else {
      throw Qcow2FormatError(.tooLarge, "Bitmap directory is too large")
    }
    return output.bytes
  }

  private static func checkByteCount(_ count: Int) throws(Qcow2FormatError) {
    guard count > 0 else { throw invalid("Requested bitmap directory size is zero") }
    guard count <= FormatLimits.maximumBitmapDirectoryBytes else {
      throw Qcow2FormatError(.tooLarge, "Requested bitmap directory size is too big")
    }
  }

  static func invalid(_ message: String) -> Qcow2FormatError {
    Qcow2FormatError(.invalidBitmap, message)
  }
}

/// An entry of the directory as it stands in the file.
private struct BitmapDirectoryRecord {
  let tableOffset: UInt64
  let tableEntryCount: Int
  let flags: BitmapFlags
  let type: UInt8
  let granularityBits: Int
  let extraByteCount: Int
  let name: EmbeddedName
  /// The size with padding.
  let byteCount: Int

  /// Reads the entry at `position`; throws when it does not end in the directory.
  init(at position: Int, in bytes: RawSpan) throws(Qcow2FormatError) {
    let rest = bytes.byteCount - position
    guard rest >= BitmapDirectoryEntry.fixedByteCount else {
      throw BitmapDirectory.invalid("Broken bitmap directory")
    }
    tableOffset = bytes.bigEndian(at: position)
    tableEntryCount = Int(bytes.bigEndian(UInt32.self, at: position + 8))
    flags = BitmapFlags(rawValue: bytes.bigEndian(at: position + 12))
    type = bytes.bigEndian(at: position + 16)
    granularityBits = Int(bytes.bigEndian(UInt8.self, at: position + 17))
    let nameByteCount = Int(bytes.bigEndian(UInt16.self, at: position + 18))
    extraByteCount = Int(bytes.bigEndian(UInt32.self, at: position + 20))
    // At most 24 + 2^32 + 2^16: no overflow.
    let used = BitmapDirectoryEntry.fixedByteCount + extraByteCount + nameByteCount
    byteCount = used.roundedUp(to: 8)
    guard byteCount <= rest else {
      throw BitmapDirectory.invalid("Broken bitmap directory")
    }
    let end = position + used
    name = EmbeddedName(bytes: bytes.slice(ByteRange(end - nameByteCount, end)).toArray())
  }

  /// The entry, when it is within the limits.
  func checked(
    geometry: Geometry, virtualSize: Int
  ) throws(Qcow2FormatError) -> BitmapDirectoryEntry {
    guard let offset = HostOffset(field: tableOffset), satisfiesLimits(geometry),
      offset.value > 0, geometry.isClusterAligned(offset),
      offset.adding(tableEntryCount * 8) != nil
    else { throw unsatisfied }
    let entry = BitmapDirectoryEntry(
      name: name, granularityBits: granularityBits, flags: flags, tableOffset: offset,
      tableEntryCount: tableEntryCount)
    if !flags.contains(.inUse) {
      let sizes = BitmapSizes(virtualSize: virtualSize, granularityBits: granularityBits)
      let needed = sizes.tableEntryCount(geometry: geometry)
      guard tableEntryCount >= needed else { throw unsatisfied }
      guard tableEntryCount == needed else {
        throw BitmapDirectory.invalid(
          "Could not read bitmap '\(name)' from image: Invalid argument")
      }
    }
    return entry
  }

  private func satisfiesLimits(_ geometry: Geometry) -> Bool {
    let granularities = FormatLimits.minimumGranularityBits...FormatLimits.maximumGranularityBits
    return (1...FormatLimits.maximumBitmapTableEntries).contains(tableEntryCount)
      && (tableEntryCount << geometry.clusterBits) <= FormatLimits.maximumBitmapBytes
      && flags.isSubset(of: .known) && type == BitmapDirectoryEntry.dirtyTrackingType
      && granularities.contains(granularityBits)
      && (1...FormatLimits.maximumBitmapNameBytes).contains(name.bytes.count)
  }

  private var unsatisfied: Qcow2FormatError {
    BitmapDirectory.invalid("Bitmap '\(name)' doesn't satisfy the constraints")
  }
}
