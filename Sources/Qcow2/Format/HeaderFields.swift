internal import Primitives

/// Every field of the header, in its width on disk and unchecked (qcow2 specification, "Header").
///
/// `Header` is the checked form. Offsets and widths in bytes are those of the reading code.
struct HeaderFields {
  static let magic: UInt32 = 0x5146_49fb
  /// The length of a version 2 header.
  static let version2Length = 72
  /// The shortest version 3 header: without the compression type.
  static let version3MinimumLength = 104
  /// The version 3 header that this engine and QEMU write: all fields with a meaning.
  static let version3Length = 112

  var magic: UInt32
  var version: UInt32
  var backingNameOffset: UInt64
  var backingNameSize: UInt32
  var clusterBits: UInt32
  var size: UInt64
  var encryptionMethod: UInt32
  var l1Size: UInt32
  var l1TableOffset: UInt64
  var refcountTableOffset: UInt64
  var refcountTableClusters: UInt32
  var snapshotCount: UInt32
  var snapshotTableOffset: UInt64
  var incompatibleFeatures: UInt64
  var compatibleFeatures: UInt64
  var autoclearFeatures: UInt64
  var refcountOrder: UInt32
  var headerLength: UInt32
  var compressionType: UInt8

  /// Reads the fields from the first 112 bytes of a file, zero-filled when it is shorter.
  ///
  /// The fields that version 2 lacks get the values that it implies.
  init(_ bytes: RawSpan) {
    precondition(bytes.byteCount >= Self.version3Length, "the header's fields need 112 bytes")
    magic = bytes.bigEndian(at: 0)
    version = bytes.bigEndian(at: 4)
    backingNameOffset = bytes.bigEndian(at: 8)
    backingNameSize = bytes.bigEndian(at: 16)
    clusterBits = bytes.bigEndian(at: 20)
    size = bytes.bigEndian(at: 24)
    encryptionMethod = bytes.bigEndian(at: 32)
    l1Size = bytes.bigEndian(at: 36)
    l1TableOffset = bytes.bigEndian(at: 40)
    refcountTableOffset = bytes.bigEndian(at: 48)
    refcountTableClusters = bytes.bigEndian(at: 56)
    snapshotCount = bytes.bigEndian(at: 60)
    snapshotTableOffset = bytes.bigEndian(at: 64)
    let isVersion3 = version >= 3
    incompatibleFeatures = isVersion3 ? bytes.bigEndian(at: 72) : 0
    compatibleFeatures = isVersion3 ? bytes.bigEndian(at: 80) : 0
    autoclearFeatures = isVersion3 ? bytes.bigEndian(at: 88) : 0
    refcountOrder = isVersion3 ? bytes.bigEndian(at: 96) : 4
    headerLength = isVersion3 ? bytes.bigEndian(at: 100) : UInt32(Self.version2Length)
    let hasCompressionType = isVersion3 && headerLength > UInt32(Self.version3MinimumLength)
    compressionType = hasCompressionType ? bytes.bigEndian(at: 104) : 0
  }
}

extension HeaderFields {
  /// The fields of a header of `version`, all zero but for its magic and what version 2 implies.
  init(blank version: FormatVersion) {
    let zeros = [UInt8](repeating: 0, count: Self.version3Length)
    self.init(zeros.span.bytes)
    self.magic = Self.magic
    self.version = UInt32(version.rawValue)
  }

  /// The fixed part of the header on disk: 72 bytes in version 2, 112 in version 3.
  func serialize() -> [UInt8] {
    var output = ByteAppender()
    output.append(magic)
    output.append(version)
    output.append(backingNameOffset)
    output.append(backingNameSize)
    output.append(clusterBits)
    output.append(size)
    output.append(encryptionMethod)
    output.append(l1Size)
    output.append(l1TableOffset)
    output.append(refcountTableOffset)
    output.append(refcountTableClusters)
    output.append(snapshotCount)
    output.append(snapshotTableOffset)
    guard version >= 3 else { return output.bytes }
    output.append(incompatibleFeatures)
    output.append(compatibleFeatures)
    output.append(autoclearFeatures)
    output.append(refcountOrder)
    output.append(headerLength)
    output.append(compressionType)
    output.pad(to: 8)
    return output.bytes
  }
}
