internal import Primitives

/// One entry of the feature name table: what to call a feature bit in a message (qcow2
/// specification, "Feature name table").
///
/// On disk 48 bytes: kind (1), bit (1), name (46, zero-padded). The table is for people: nothing
/// in it can make an image invalid.
public struct FeatureName: Hashable, Sendable {
  /// Which of the header's three words the bit is in.
  public enum Kind: UInt8, Sendable {
    /// Header bytes 72–79.
    case incompatible = 0
    /// Header bytes 80–87.
    case compatible = 1
    /// Header bytes 88–95.
    case autoclear = 2
  }

  /// The kind as stored: one of `Kind`, in a sane table.
  public let rawKind: UInt8
  /// The number of the bit, 0 to 63 in a sane table.
  public let bit: UInt8
  /// The name, without its padding, at most 46 bytes.
  public let name: EmbeddedName

  static let byteCount = 48
  private static let nameByteCount = 46

  /// Makes the entry that names a bit; a name beyond 46 bytes is cut.
  public init(_ kind: Kind, bit: UInt8, name: EmbeddedName) {
    self.rawKind = kind.rawValue
    self.bit = bit
    self.name = EmbeddedName(bytes: Array(name.bytes.prefix(Self.nameByteCount)))
  }

  private init(entry: RawSpan) {
    rawKind = entry.bigEndian(UInt8.self, at: 0)
    bit = entry.bigEndian(UInt8.self, at: 1)
    let padded = entry.slice(ByteRange(2, Self.byteCount)).toArray()
    name = EmbeddedName(bytes: Array(padded.prefix { $0 != 0 }))
  }

  /// The entries of a table's bytes; a remainder shorter than an entry is ignored.
  public static func parseTable(_ bytes: RawSpan) -> [FeatureName] {
    var names: [FeatureName] = []
    var position = 0
    while position + byteCount <= bytes.byteCount {
      names.append(FeatureName(entry: bytes.slice(ByteRange(offset: position, count: byteCount))))
      position += byteCount
    }
    return names
  }

  /// The table's bytes, 48 an entry.
  public static func serializeTable(_ names: [FeatureName]) -> [UInt8] {
    var table = ByteAppender()
    for entry in names {
      table.append(entry.rawKind)
      table.append(entry.bit)
      table.append(bytes: entry.name.bytes)
      table.append(zeros: nameByteCount - entry.name.bytes.count)
    }
    return table.bytes
  }

  /// The names of every bit that QEMU 7.2 knows, in its order.
  public static let standard: [FeatureName] = [
    FeatureName(.incompatible, bit: 0, name: "dirty bit"),
    FeatureName(.incompatible, bit: 1, name: "corrupt bit"),
    FeatureName(.incompatible, bit: 2, name: "external data file"),
    FeatureName(.incompatible, bit: 3, name: "compression type"),
    FeatureName(.incompatible, bit: 4, name: "extended L2 entries"),
    FeatureName(.compatible, bit: 0, name: "lazy refcounts"),
    FeatureName(.autoclear, bit: 0, name: "bitmaps"),
    FeatureName(.autoclear, bit: 1, name: "raw external data"),
  ]
}
