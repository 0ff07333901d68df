/// A name stored inside an image: of a backing file, a format, a bitmap, a snapshot.
///
/// On disk it is bytes without a terminator, usually UTF-8. It was written by somebody else: it
/// is data, never opened or printed without a decision. Equality is by bytes.
public struct EmbeddedName: Hashable, Sendable {
  /// The bytes, as on disk.
  public let bytes: [UInt8]

  /// Makes the name that has these bytes.
  public init(bytes: [UInt8]) { self.bytes = bytes }

  /// Makes the name of a text, as UTF-8.
  public init(_ text: String) { bytes = Array(text.utf8) }

  /// The name as text, unchanged; nil when the bytes are not UTF-8.
  public var text: String? { String(validating: bytes, as: UTF8.self) }

  /// Whether a zero byte is inside: such a name would be cut short by every C interface.
  public var containsNUL: Bool { bytes.contains(0) }

  /// Whether every byte is printable ASCII.
  public var isPrintableASCII: Bool { bytes.allSatisfy { (0x20...0x7e).contains($0) } }

  /// Whether there is no byte at all.
  public var isEmpty: Bool { bytes.isEmpty }
}

extension EmbeddedName: ExpressibleByStringLiteral {
  /// Makes the name of a literal text.
  public init(stringLiteral value: String) { self.init(value) }
}

extension EmbeddedName: CustomStringConvertible {
  /// The name made safe for a terminal: control characters, and what is not UTF-8, appear as `?`.
  public var description: String {
    var text = ""
    for scalar in String(decoding: bytes, as: UTF8.self).unicodeScalars {
      let isControl = scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value)
      text.unicodeScalars.append(isControl || scalar == "\u{fffd}" ? "?" : scalar)
    }
    return text
  }
}
