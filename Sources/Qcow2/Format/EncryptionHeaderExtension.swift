public import Primitives

/// The full disk encryption header pointer (qcow2 specification, "Full disk encryption header
/// pointer", type 0x0537be77): where the LUKS header lies.
///
/// On disk 16 bytes: offset (0, u64), length (8, u64).
public struct EncryptionHeaderExtension: Hashable, Sendable {
  /// The bytes of the LUKS header in the file; the start is cluster-aligned.
  public let range: ByteRange

  static let byteCount = 16

  /// Makes the extension that names `range`.
  public init(range: ByteRange) { self.range = range }

  /// Reads the extension's body.
  ///
  /// Throws what is wrong with it.
  init(body: RawSpan, header: Header) throws(Qcow2FormatError) {
    guard header.encryptionMethod == .luks else {
      throw Qcow2FormatError(
        .invalidExtension,
        "CRYPTO header extension only expected with LUKS encryption method")
    }
    guard body.byteCount == Self.byteCount else {
      throw Qcow2FormatError(
        .invalidExtension,
        "CRYPTO header extension size \(body.byteCount), but expected size \(Self.byteCount)")
    }
    let start = body.bigEndian(UInt64.self, at: 0)
    guard start % UInt64(header.clusterSize) == 0 else {
      throw Qcow2FormatError(
        .invalidExtension,
        "Encryption header offset '\(start)' is not a multiple of cluster size "
          + "'\(header.clusterSize)'")
    }
    let count = body.bigEndian(UInt64.self, at: 8)
    guard let offset = Int(exactly: start), let length = Int(exactly: count),
      let range = ByteRange(checkedOffset: offset, count: length)
    else {
      throw Qcow2FormatError(
        .invalidExtension, "Encryption header ends beyond the largest file offset")
    }
    self.range = range
  }

  /// The extension's body, 16 bytes.
  func serialize() -> [UInt8] {
    var body = ByteAppender()
    body.append(UInt64(range.lower))
    body.append(UInt64(range.count))
    return body.bytes
  }
}
