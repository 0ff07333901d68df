internal import Primitives

/// All header extensions of an image.
public struct HeaderExtensions: Hashable, Sendable {
  /// The format of the backing file, such as `qcow2` or `raw`: at most 15 printable characters.
  public var backingFormat: EmbeddedName?
  /// The name of the external data file: a plain path, nothing else.
  public var dataFileName: EmbeddedName?
  /// The place of the bitmap directory, when its contents agree with the data.
  public var bitmaps: BitmapExtension?
  /// Why an extension for bitmaps that stands in the file is not in `bitmaps`.
  ///
  /// It is not written again.
  public var bitmapsDefect: BitmapsDefect?
  /// The place of the LUKS header.
  public var encryptionHeader: EncryptionHeaderExtension?
  /// The names of feature bits, as the image's last writer called them; empty without a table.
  public var featureNames: [FeatureName] = []
  /// Extensions of types that this engine does not know, in their order; kept as they are.
  public var unknown: [HeaderExtension] = []

  /// Makes an empty set.
  public init() {}
}

extension HeaderExtensions {
  /// Reads the extensions that stand in `range` of a header cluster (steps 15 and 16).
  ///
  /// Beyond QEMU, a known type that stands twice is refused, and so are names with zero bytes.
  init(
    cluster: RawSpan, range: ByteRange, header: Header, purpose: OpenPurpose
  ) throws(Qcow2FormatError) {
    var walk = HeaderExtensionWalk(range: range)
    var seen: [UInt32] = []
    while let (type, bodyRange) = try walk.next(in: cluster) {
      let body = cluster.slice(bodyRange)
      if try !take(type, body, header: header, purpose: purpose) {
        unknown.append(HeaderExtension(type: type, body: body.toArray()))
        continue
      }
      guard !seen.contains(type) else {
        throw Qcow2FormatError(
          .invalidExtension, "Header extension \(hexText(type)) appears more than once")
      }
      seen.append(type)
    }
    try checkAgainst(header, purpose: purpose)
  }

  /// Takes an extension of a known type; false for an unknown one.
  private mutating func take(
    _ type: UInt32, _ body: RawSpan, header: Header, purpose: OpenPurpose
  ) throws(Qcow2FormatError) -> Bool {
    switch type {
    case HeaderExtension.backingFormat: backingFormat = try Self.backingFormat(body)
    case HeaderExtension.dataFileName: dataFileName = try Self.dataFileName(body, header)
    case HeaderExtension.featureNames: featureNames = FeatureName.parseTable(body)
    case HeaderExtension.bitmaps: try takeBitmaps(body, header: header, purpose: purpose)
    case HeaderExtension.encryptionHeader:
      encryptionHeader = try EncryptionHeaderExtension(body: body, header: header)
    default: return false
    }
    return true
  }

  private static func backingFormat(_ body: RawSpan) throws(Qcow2FormatError) -> EmbeddedName {
    guard body.byteCount <= FormatLimits.maximumBackingFormatBytes else {
      throw Qcow2FormatError(
        .invalidExtension, "ERROR: ext_backing_format: len=\(body.byteCount) too large (>=16)")
    }
    let name = EmbeddedName(bytes: body.toArray())
    guard name.isPrintableASCII else {
      throw Qcow2FormatError(
        .invalidExtension, "ERROR: ext_backing_format: '\(name)' is no name of a format")
    }
    return name
  }

  private static func dataFileName(
    _ body: RawSpan, _ header: Header
  ) throws(Qcow2FormatError) -> EmbeddedName {
    guard body.byteCount <= FormatLimits.maximumDataFileNameBytes else {
      throw Qcow2FormatError(.invalidExtension, "External data file name too long")
    }
    guard header.incompatibleFeatures.contains(.externalDataFile) else {
      throw Qcow2FormatError(
        .invalidExtension,
        "External data file name in an image without the external data file feature bit")
    }
    let name = EmbeddedName(bytes: body.toArray())
    guard !name.containsNUL else {
      throw Qcow2FormatError(.invalidExtension, "External data file name contains a zero byte")
    }
    return name
  }

  private mutating func takeBitmaps(
    _ body: RawSpan, header: Header, purpose: OpenPurpose
  ) throws(Qcow2FormatError) {
    guard
      body.byteCount != BitmapExtension.byteCount
        || header.autoclearFeatures.contains(.bitmaps)
    else {
      bitmapsDefect = .stale
      return
    }
    do throws(Qcow2FormatError) {
      bitmaps = try BitmapExtension(body: body, clusterSize: header.clusterSize)
    } catch {
      // A torn header must not make the data unreadable: only writers insist.
      if purpose == .readWrite { throw error }
      bitmapsDefect = .invalid(error)
    }
  }

  private func checkAgainst(
    _ header: Header, purpose: OpenPurpose
  ) throws(Qcow2FormatError) {
    let isRaw = header.autoclearFeatures.contains(.rawExternalData)
    let hasDataFile = header.incompatibleFeatures.contains(.externalDataFile)
    if isRaw, !hasDataFile, purpose != .check {
      throw Qcow2FormatError(.invalidHeader, "data-file-raw requires a data file")
    }
    if header.encryptionMethod == .luks, encryptionHeader == nil {
      throw Qcow2FormatError(.invalidExtension, "Missing CRYPTO header for crypt method 2")
    }
  }

  /// The feature names that stand in `range` of a header cluster; whatever is wrong with the
  /// extensions, they are read as far as they go.
  static func featureNames(in cluster: RawSpan, range: ByteRange) -> [FeatureName] {
    var walk = HeaderExtensionWalk(range: range)
    while let (type, body) = try? walk.next(in: cluster) {
      if type == HeaderExtension.featureNames {
        return FeatureName.parseTable(cluster.slice(body))
      }
    }
    return []
  }
}
