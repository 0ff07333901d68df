internal import BlockLayer

/// A feature bit that is set in an image's header.
public struct SetFeature: Hashable, Sendable {
  /// Which of the header's words the bit is in.
  public var kind: FeatureName.Kind
  /// The number of the bit, 0 to 63.
  public var bit: Int
  /// What the image calls it in its own name table, or else the format; nil where neither does.
  public var name: EmbeddedName?

  /// Makes the description of a bit.
  public init(kind: FeatureName.Kind, bit: Int, name: EmbeddedName?) {
    self.kind = kind
    self.bit = bit
    self.name = name
  }
}

/// Why someone who does not trust an image should think twice before opening it.
///
/// Source: what OpenStack's format inspector refuses, and what else reaches beyond an image.
public enum ImageViolation: Hashable, Sendable {
  /// It shows what another file has.
  case namesBackingFile(EmbeddedName)
  /// Whoever opens its backing file has to guess the format, from bytes that a guest wrote.
  case statesNoBackingFormat
  /// Its data is in another file, which a writer changes.
  case namesDataFile(EmbeddedName?)
  /// A name leads out of the image's folder: it is absolute, or goes up.
  case leadsOutOfFolder(EmbeddedName)
  /// A name speaks of a protocol or of options, such as `nbd:` or `json:`.
  case namesProtocol(EmbeddedName)
  /// A name has control characters, which could do something to a terminal.
  case hasControlCharacters(EmbeddedName)
  /// The guest's data is encrypted.
  case isEncrypted(EncryptionMethod)
  /// A bit that this engine does not know is set.
  case unknownFeature(SetFeature)
  /// The image is marked corrupt.
  case isMarkedCorrupt
  /// Refcounts may be stale: opening it for writing repairs it.
  case isDirty
  /// A table that the header names is impossible, or cannot be read.
  case defect(String)
}

extension ImageViolation: CustomStringConvertible {
  /// A line for people; names are made safe for a terminal.
  public var description: String {
    switch self {
    case .namesBackingFile(let name): "the image names a backing file, '\(name.printable)'"
    case .statesNoBackingFormat: "the image does not state the format of its backing file"
    case .namesDataFile(let name):
      name.map { "the image names a data file, '\($0.printable)'" } ?? "the data is in another file"
    case .leadsOutOfFolder(let name): "the name '\(name.printable)' leads out of the folder"
    case .namesProtocol(let name): "the name '\(name.printable)' speaks of a protocol"
    case .hasControlCharacters(let name): "the name '\(name.printable)' has control characters"
    case .isEncrypted(let method): "the data is encrypted (\(method))"
    case .unknownFeature(let feature):
      "\(feature.kind) feature bit \(feature.bit) is not known"
        + (feature.name.map { " ('\($0.printable)')" } ?? "")
    case .isMarkedCorrupt: "the image is marked corrupt"
    case .isDirty: "the image was not closed: its refcounts may be stale"
    case .defect(let message): message
    }
  }
}

extension ImageInformation {
  /// Everything about the image that reaches beyond it or is wrong with it; empty for one that is
  /// complete in itself and sound, as far as its header and its directories tell.
  public var violations: [ImageViolation] {
    var found: [ImageViolation] = []
    if let name = backingFileName {
      found.append(.namesBackingFile(name))
      if backingFormat == nil { found.append(.statesNoBackingFormat) }
      found += Self.violations(of: name)
    }
    if let dataFile {
      found.append(.namesDataFile(dataFile.name))
      found += dataFile.name.map(Self.violations(of:)) ?? []
    }
    for name in snapshots.map(\.name) + bitmaps.map(\.name) where name.hasControlCharacters {
      found.append(.hasControlCharacters(name))
    }
    if encryptionMethod != .none { found.append(.isEncrypted(encryptionMethod)) }
    found += features.filter { !$0.isKnown }.map(ImageViolation.unknownFeature)
    if isCorrupt { found.append(.isMarkedCorrupt) }
    if isDirty { found.append(.isDirty) }
    return found + (tableDefects + defects).map { .defect(OpenPolicy.printable($0)) }
  }

  private static func violations(of name: EmbeddedName) -> [ImageViolation] {
    let text = String(decoding: name.bytes, as: UTF8.self)
    var found: [ImageViolation] = []
    if text.prefix(while: { $0 != "/" }).contains(":") { found.append(.namesProtocol(name)) }
    if text.hasPrefix("/") || text.split(separator: "/").contains("..") {
      found.append(.leadsOutOfFolder(name))
    }
    if name.hasControlCharacters { found.append(.hasControlCharacters(name)) }
    return found
  }
}

extension SetFeature {
  fileprivate var isKnown: Bool {
    FeatureName.standard.contains { $0.rawKind == kind.rawValue && Int($0.bit) == bit }
  }

  /// The bits of a header, with the names that its image gives them.
  static func all(of cluster: HeaderCluster) -> [SetFeature] {
    let header = cluster.header
    let words: [(FeatureName.Kind, UInt64)] = [
      (.incompatible, header.incompatibleFeatures.rawValue),
      (.compatible, header.compatibleFeatures.rawValue),
      (.autoclear, header.autoclearFeatures.rawValue),
    ]
    let names = cluster.extensions.featureNames + FeatureName.standard
    return words.flatMap { kind, word in
      (0..<64).filter { word >> UInt64($0) & 1 == 1 }.map { bit in
        let name = names.first { $0.rawKind == kind.rawValue && Int($0.bit) == bit }?.name
        return SetFeature(kind: kind, bit: bit, name: name)
      }
    }
  }
}

extension EmbeddedName {
  fileprivate var printable: String {
    OpenPolicy.printable(String(decoding: bytes, as: UTF8.self))
  }

  fileprivate var hasControlCharacters: Bool {
    let text = String(decoding: bytes, as: UTF8.self)
    return OpenPolicy.printable(text) != text
  }
}
