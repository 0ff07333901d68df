internal import Primitives

/// All that the first cluster of an image says: header, extensions, name of the backing file.
public struct HeaderCluster: Hashable, Sendable {
  /// The header.
  public var header: Header
  /// The header extensions.
  public var extensions: HeaderExtensions
  /// The name of the backing file, 1 to 1023 bytes; nil where there is none.
  public var backingFileName: EmbeddedName?

  /// Makes the value of its parts.
  public init(
    header: Header, extensions: HeaderExtensions = HeaderExtensions(),
    backingFileName: EmbeddedName? = nil
  ) {
    self.header = header
    self.extensions = extensions
    self.backingFileName = backingFileName
  }
}

extension HeaderCluster {
  /// Reads the first cluster of an image and checks all that it alone can tell: steps 1–12 and
  /// 15–17 of opening, in this order.
  ///
  /// `bytes` starts with the image's first byte and has, where the file is long enough, at least
  /// `Header.clusterSize(ofImageStarting:)` bytes; missing ones count as zeros. What remains to
  /// the opener: `regionDefects(fileByteCount:)`, `unsupportedFeatures(for:)`, and the tables'
  /// contents.
  public static func parse(
    _ bytes: RawSpan, for purpose: OpenPurpose
  ) throws(Qcow2FormatError) -> HeaderCluster {
    let clusterSize = try Header.clusterSize(ofImageStarting: bytes)
    guard bytes.byteCount >= clusterSize else {
      let filled = Header.zeroFilled(bytes, to: clusterSize)
      return try parse(wholeCluster: filled.span.bytes, for: purpose)
    }
    return try parse(wholeCluster: bytes.slice(ByteRange(0, clusterSize)), for: purpose)
  }

  private static func parse(
    wholeCluster cluster: RawSpan, for purpose: OpenPurpose
  ) throws(Qcow2FormatError) -> HeaderCluster {
    let fields = HeaderFields(cluster)
    let header = try Header(checking: fields, in: cluster, for: purpose)
    let extensions = try HeaderExtensions(
      cluster: cluster, range: fields.extensionRange, header: header, purpose: purpose)
    let name = try backingFileName(fields, in: cluster, for: purpose)
    return HeaderCluster(header: header, extensions: extensions, backingFileName: name)
  }

  /// Step 17.
  ///
  /// Beyond QEMU, a name with a zero byte (left by a torn write, or meant to be read differently by
  /// different programs) is refused, unless the image is to be repaired.
  private static func backingFileName(
    _ fields: HeaderFields, in cluster: RawSpan, for purpose: OpenPurpose
  ) throws(Qcow2FormatError) -> EmbeddedName? {
    guard fields.backingNameOffset != 0 else { return nil }
    // Step 4 bounded the offset by the cluster size.
    let start = Int(fields.backingNameOffset)
    let limit = min(FormatLimits.maximumBackingNameBytes, cluster.byteCount - start)
    guard Int(fields.backingNameSize) <= limit else {
      throw Qcow2FormatError(.invalidHeader, "Backing file name too long")
    }
    guard fields.backingNameSize > 0 else { return nil }
    let range = ByteRange(offset: start, count: Int(fields.backingNameSize))
    let name = EmbeddedName(bytes: cluster.slice(range).toArray())
    if name.containsNUL, purpose != .check {
      throw Qcow2FormatError(
        .invalidHeader, "Backing file name contains a zero byte; set it anew with rebase")
    }
    return name
  }
}
