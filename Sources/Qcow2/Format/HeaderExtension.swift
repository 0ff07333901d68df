internal import Primitives

/// One header extension as it stands in the file: a type, and bytes (qcow2 specification, "Header
/// extensions").
///
/// On disk: type (0, u32), length (4, u32), that many bytes, zeros to a multiple of 8.
public struct HeaderExtension: Hashable, Sendable {
  /// The type: one of the constants here, or one that this engine does not know.
  public let type: UInt32
  /// The body, without padding.
  public let body: [UInt8]

  /// Makes an extension of a type and its body.
  public init(type: UInt32, body: [UInt8]) {
    self.type = type
    self.body = body
  }

  /// Ends the list.
  public static let end: UInt32 = 0
  /// The name of the backing file's format.
  public static let backingFormat: UInt32 = 0xe279_2aca
  /// The names of feature bits.
  public static let featureNames: UInt32 = 0x6803_f857
  /// The place of the bitmap directory.
  public static let bitmaps: UInt32 = 0x2385_2875
  /// The place of the LUKS header.
  public static let encryptionHeader: UInt32 = 0x0537_be77
  /// The name of the external data file.
  public static let dataFileName: UInt32 = 0x4441_5441

  /// The size of type and length.
  static let prefixByteCount = 8

  /// Appends the extension, padded.
  func append(to output: inout ByteAppender) {
    output.append(type)
    output.append(UInt32(body.count))
    output.append(bytes: body)
    output.append(zeros: body.count.roundedUp(to: 8) - body.count)
  }
}

/// Walks the extensions of a header cluster one by one.
struct HeaderExtensionWalk {
  private let limit: Int
  private var position: Int

  /// Starts before the first extension of `range`.
  init(range: ByteRange) {
    position = range.lower
    limit = range.upper
  }

  /// The type and the place of the body of the next extension; nil at the end marker or the end of
  /// the range.
  ///
  /// Throws when an extension would reach beyond the range.
  mutating func next(
    in cluster: RawSpan
  ) throws(Qcow2FormatError) -> (type: UInt32, body: ByteRange)? {
    guard position < limit else { return nil }
    guard limit - position >= HeaderExtension.prefixByteCount else { throw Self.tooLarge }
    let type = cluster.bigEndian(UInt32.self, at: position)
    let length = Int(cluster.bigEndian(UInt32.self, at: position + 4))
    let start = position + HeaderExtension.prefixByteCount
    guard length <= limit - start else { throw Self.tooLarge }
    guard type != HeaderExtension.end else { return nil }
    // At most 8 bytes beyond the limit, which is at most a cluster: no overflow.
    position = start + length.roundedUp(to: 8)
    return (type, ByteRange(offset: start, count: length))
  }

  private static let tooLarge = Qcow2FormatError(
    .invalidExtension, "Header extension too large")
}
