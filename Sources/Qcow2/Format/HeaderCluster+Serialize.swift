internal import Primitives

extension HeaderCluster {
  /// The whole header cluster on disk, for a file that has no header yet.
  ///
  /// Order: header, backing format, LUKS pointer, bitmaps, data file name, unknown extensions,
  /// feature names, end marker, name of the backing file. What refers to something thus comes
  /// before the feature names, which are for people and are left out where they do not fit.
  /// Throws `.noSpace` when the rest does not fit into a cluster.
  public func serialize() throws(Qcow2FormatError) -> [UInt8] {
    let nameSize = backingFileName?.bytes.count ?? 0
    let extensionBytes = try extensionBytes(room: header.clusterSize - header.byteCount - nameSize)
    let nameStart = header.byteCount + extensionBytes.count
    let nameRange = ByteRange(offset: nameStart, count: nameSize)
    var output = ByteAppender()
    output.append(bytes: headerBytes(nameRange: nameRange))
    output.append(bytes: extensionBytes)
    output.append(bytes: backingFileName?.bytes ?? [])
    output.pad(to: header.clusterSize)
    return output.bytes
  }

  /// The header on disk, with the backing file's name at `nameRange`: `header.byteCount` bytes.
  func headerBytes(nameRange: ByteRange) -> [UInt8] {
    var output = ByteAppender()
    let named = nameRange.isEmpty ? nil : nameRange
    output.append(bytes: header.fields(backingName: named).serialize())
    output.append(bytes: header.version == .v3 ? header.unknownTail : [])
    output.pad(to: 8)
    return output.bytes
  }

  /// All extensions and the end marker, in at most `room` bytes, with as many feature names as fit.
  func extensionBytes(room: Int) throws(Qcow2FormatError) -> [UInt8] {
    try checkNames()
    var output = ByteAppender()
    for item in essentialExtensions { item.append(to: &output) }
    let rest = room - output.bytes.count - HeaderExtension.prefixByteCount
    guard rest >= 0 else {
      throw Qcow2FormatError(
        .noSpace,
        "Header, extensions and backing file name do not fit into a cluster of "
          + "\(header.clusterSize) bytes")
    }
    let names = extensions.featureNames
    let fitting = min(
      names.count, (rest - HeaderExtension.prefixByteCount) / FeatureName.byteCount)
    if fitting > 0 {
      let table = FeatureName.serializeTable(Array(names.prefix(fitting)))
      HeaderExtension(type: HeaderExtension.featureNames, body: table).append(to: &output)
    }
    HeaderExtension(type: HeaderExtension.end, body: []).append(to: &output)
    return output.bytes
  }

  /// All extensions but the feature names, in the order in which they are written.
  private var essentialExtensions: [HeaderExtension] {
    var list: [HeaderExtension] = []
    func add(_ type: UInt32, _ body: [UInt8]?) {
      if let body { list.append(HeaderExtension(type: type, body: body)) }
    }
    add(HeaderExtension.backingFormat, extensions.backingFormat?.bytes)
    add(HeaderExtension.encryptionHeader, extensions.encryptionHeader?.serialize())
    add(HeaderExtension.bitmaps, extensions.bitmaps?.serialize())
    add(HeaderExtension.dataFileName, extensions.dataFileName?.bytes)
    return list + extensions.unknown
  }

  /// What is written must be readable again.
  private func checkNames() throws(Qcow2FormatError) {
    if let name = backingFileName {
      guard name.bytes.count <= FormatLimits.maximumBackingNameBytes else {
        throw Qcow2FormatError(.invalidOption, "Backing file name too long")
      }
      guard !name.isEmpty, !name.containsNUL else {
        throw Qcow2FormatError(.invalidOption, "Backing file name is empty or has a zero byte")
      }
    }
    if let name = extensions.dataFileName {
      let limit = FormatLimits.maximumDataFileNameBytes
      guard !name.isEmpty, !name.containsNUL, name.bytes.count <= limit else {
        throw Qcow2FormatError(
          .invalidOption, "The data file's name is empty, too long or has a zero byte")
      }
    }
    if let format = extensions.backingFormat {
      let isShort = format.bytes.count <= FormatLimits.maximumBackingFormatBytes
      guard isShort, format.isPrintableASCII else {
        throw Qcow2FormatError(.invalidOption, "'\(format)' is no name of a backing format")
      }
    }
  }
}
