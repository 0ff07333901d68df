internal import Primitives

/// Checks of the header alone, in the order that decides which error is reported.
///
/// The numbers of the steps are those of the decision list that tests state; QEMU 7.2 reports in
/// the same order.
extension Header {
  /// The number of bytes at the start of a file from which its cluster size can be told.
  public static let prefixByteCount = 24

  /// The cluster size of the image that starts with `bytes`: how much of it `HeaderCluster.parse`
  /// wants.
  ///
  /// Bytes that are missing count as zeros.
  ///
  /// Throws when the bytes are not of a qcow2 image, or its version or cluster size is none that
  /// the format allows.
  public static func clusterSize(
    ofImageStarting bytes: RawSpan
  ) throws(Qcow2FormatError) -> Int {
    let padded = zeroFilled(bytes, to: HeaderFields.version3Length)
    let fields = HeaderFields(padded.span.bytes)
    try fields.checkIdentity()
    return 1 << Int(fields.clusterBits)
  }

  /// Checks `fields` (steps 1–12 and the method of encryption) and makes the header of them.
  ///
  /// `cluster` is the whole header cluster; feature names for the message are looked up in it.
  init(
    checking fields: HeaderFields, in cluster: RawSpan, for purpose: OpenPurpose
  ) throws(Qcow2FormatError) {
    try fields.checkIdentity()
    try fields.checkLengths()
    let compressionType = try fields.checkedCompressionType()
    try fields.checkFeatures(in: cluster, for: purpose)
    try fields.checkWidths()
    try fields.checkRefcountTable(for: purpose)
    try fields.checkSnapshotTable(for: purpose)
    let virtualSize = try fields.checkedVirtualSize()
    guard let encryptionMethod = EncryptionMethod(rawValue: Int(fields.encryptionMethod)) else {
      throw Qcow2FormatError(
        .unsupported, "Unsupported encryption method \(fields.encryptionMethod)")
    }
    self.init(
      version: fields.version == 2 ? .v2 : .v3, geometry: fields.geometry,
      virtualSize: virtualSize)
    self.encryptionMethod = encryptionMethod
    self.compressionType = compressionType
    try takeTables(of: fields)
    incompatibleFeatures = IncompatibleFeatures(rawValue: fields.incompatibleFeatures)
    compatibleFeatures = CompatibleFeatures(rawValue: fields.compatibleFeatures)
    autoclearFeatures = AutoclearFeatures(rawValue: fields.autoclearFeatures)
    let end = Int(fields.headerLength)
    if end > HeaderFields.version3Length {
      unknownTail = cluster.slice(ByteRange(HeaderFields.version3Length, end)).toArray()
    }
  }

  private mutating func takeTables(of fields: HeaderFields) throws(Qcow2FormatError) {
    l1EntryCount = Int(fields.l1Size)
    l1TableOffset = try HeaderFields.offset(fields.l1TableOffset, of: "Active L1 table")
    refcountTableOffset = try HeaderFields.offset(
      fields.refcountTableOffset, of: "Reference count table")
    refcountTableClusters = Int(fields.refcountTableClusters)
    snapshotCount = Int(fields.snapshotCount)
    snapshotTableOffset = try HeaderFields.offset(
      snapshotCount == 0 ? 0 : fields.snapshotTableOffset, of: "Snapshot table")
  }

  /// `bytes`, and zeros up to `byteCount`; cut there when there are more.
  static func zeroFilled(_ bytes: RawSpan, to byteCount: Int) -> [UInt8] {
    let head = bytes.slice(ByteRange(0, min(bytes.byteCount, byteCount))).toArray()
    return head + [UInt8](repeating: 0, count: byteCount - head.count)
  }
}

extension HeaderFields {
  /// The sizes that follow from the fields, once `checkWidths` let them pass.
  fileprivate var geometry: Geometry {
    Geometry(
      clusterBits: Int(clusterBits), refcountOrder: Int(refcountOrder), hasExtendedL2: hasExtendedL2
    )
  }

  private var hasExtendedL2: Bool {
    IncompatibleFeatures(rawValue: incompatibleFeatures).contains(.extendedL2)
  }

  /// Step 1: magic, version, cluster size.
  fileprivate func checkIdentity() throws(Qcow2FormatError) {
    guard magic == Self.magic else {
      throw Qcow2FormatError(.notQcow2, "Image is not in qcow2 format")
    }
    guard version == 2 || version == 3 else {
      throw Qcow2FormatError(.unsupported, "Unsupported qcow2 version \(version)")
    }
    let allowed = FormatLimits.minimumClusterBits...FormatLimits.maximumClusterBits
    guard allowed.contains(Int(clusterBits)) else {
      throw Qcow2FormatError(.unsupported, "Unsupported cluster size: 2^\(clusterBits)")
    }
  }

  /// Steps 2 to 4: the header's own length, and the place of the backing file's name.
  ///
  /// Beyond QEMU: the name may not lie in the header itself.
  fileprivate func checkLengths() throws(Qcow2FormatError) {
    let clusterSize = UInt64(1) << UInt64(clusterBits)
    guard version == 2 || headerLength >= UInt32(Self.version3MinimumLength) else {
      throw Qcow2FormatError(.invalidHeader, "qcow2 header too short")
    }
    guard UInt64(headerLength) <= clusterSize else {
      throw Qcow2FormatError(.invalidHeader, "qcow2 header exceeds cluster size")
    }
    let isBehindHeader = backingNameOffset >= UInt64(headerLength)
    guard backingNameOffset == 0 || isBehindHeader, backingNameOffset <= clusterSize else {
      throw Qcow2FormatError(.invalidHeader, "Invalid backing file offset")
    }
  }

  /// Step 4, second half: the codec, and the feature bit that must announce it.
  fileprivate func checkedCompressionType() throws(Qcow2FormatError) -> CompressionType {
    guard let type = CompressionType(rawValue: Int(compressionType)) else {
      throw Qcow2FormatError(
        .unsupported, "qcow2: unknown compression type: \(compressionType)")
    }
    let features = IncompatibleFeatures(rawValue: incompatibleFeatures)
    let isAnnounced = features.contains(.compressionType)
    guard isAnnounced == (type != .deflate) else {
      let verb = isAnnounced ? "must not be set" : "must be set"
      throw Qcow2FormatError(
        .invalidHeader, "qcow2: Compression type incompatible feature bit \(verb)")
    }
    return type
  }

  /// Steps 5 and 6: feature bits nobody knows, and the mark of corruption.
  fileprivate func checkFeatures(
    in cluster: RawSpan, for purpose: OpenPurpose
  ) throws(Qcow2FormatError) {
    let features = IncompatibleFeatures(rawValue: incompatibleFeatures)
    let unknown = features.subtracting(.known)
    guard unknown.isEmpty else {
      let names = HeaderExtensions.featureNames(in: cluster, range: extensionRange)
      throw Qcow2FormatError(
        .unsupported, "Unsupported qcow2 feature(s): " + Self.describe(unknown, names: names))
    }
    if features.contains(.corrupt), purpose == .readWrite {
      throw Qcow2FormatError(
        .markedCorrupt, "qcow2: Image is corrupt; cannot be opened read/write")
    }
  }

  /// Steps 7 and 8: the widths of L2 entries and refcounts.
  fileprivate func checkWidths() throws(Qcow2FormatError) {
    let subclusterSize = 1 << (Int(clusterBits) - 5)
    guard !hasExtendedL2 || subclusterSize >= FormatLimits.minimumSubclusterSize else {
      throw Qcow2FormatError(.unsupported, "Unsupported subcluster size: \(subclusterSize)")
    }
    guard refcountOrder <= UInt32(FormatLimits.maximumRefcountOrder) else {
      throw Qcow2FormatError(
        .unsupported, "Reference count entry width too large; may not exceed 64 bits")
    }
  }

  /// Step 10.
  fileprivate func checkRefcountTable(for purpose: OpenPurpose) throws(Qcow2FormatError) {
    guard refcountTableClusters > 0 || purpose == .check else {
      throw Qcow2FormatError(.invalidTable, "Image does not contain a reference count table")
    }
    try checkTable(
      "Reference count table", at: refcountTableOffset,
      count: refcountTableClusters, entryByteCount: 1 << Int(clusterBits),
      limit: FormatLimits.maximumRefcountTableBytes)
  }

  /// Step 11.
  ///
  /// A check reads the table later, and reports what is wrong with it.
  fileprivate func checkSnapshotTable(for purpose: OpenPurpose) throws(Qcow2FormatError) {
    guard snapshotCount > 0, purpose != .check else { return }
    let entryByteCount = SnapshotTableEntry.fixedByteCount
    try checkTable(
      "Snapshot table", at: snapshotTableOffset,
      count: snapshotCount, entryByteCount: entryByteCount,
      limit: FormatLimits.maximumSnapshots * entryByteCount)
  }

  /// Step 12: the place of the active L1 table, and that it maps the virtual size, which is
  /// returned rounded down to whole sectors.
  fileprivate func checkedVirtualSize() throws(Qcow2FormatError) -> Int {
    try checkTable(
      "Active L1 table", at: l1TableOffset, count: l1Size, entryByteCount: 8,
      limit: FormatLimits.maximumL1TableBytes)
    let coverage = UInt64(1) << UInt64(geometry.l1EntryCoverageBits)
    let needed = size / coverage + (size % coverage == 0 ? 0 : 1)
    guard needed <= UInt64(FormatLimits.maximumL1EntriesForSize) else {
      throw Qcow2FormatError(.tooLarge, "Image is too big")
    }
    guard UInt64(l1Size) >= needed else {
      throw Qcow2FormatError(.invalidTable, "L1 table is too small")
    }
    // The table's limit bounds the size by 2^61.
    guard let virtualSize = Int(exactly: size) else {
      throw Qcow2FormatError(.tooLarge, "Image is too big")
    }
    return virtualSize.roundedDown(to: 512)
  }

  /// Checks that a table of `count` entries is within its limit, cluster-aligned, and ends below
  /// 2^63.
  private func checkTable(
    _ name: String, at offset: UInt64, count: UInt32, entryByteCount: Int, limit: Int
  ) throws(Qcow2FormatError) {
    guard Int(count) <= limit / entryByteCount else {
      throw Qcow2FormatError(.tooLarge, "\(name) too large")
    }
    let start = try Self.offset(offset, of: name)
    let byteCount = Int(count) * entryByteCount
    guard start.isAligned(to: 1 << Int(clusterBits)), start.adding(byteCount) != nil else {
      throw Qcow2FormatError(.invalidTable, "\(name) offset invalid")
    }
  }

  /// The offset that a field holds, when it is below 2^63.
  fileprivate static func offset(
    _ field: UInt64, of name: String
  ) throws(Qcow2FormatError) -> HostOffset {
    guard let offset = HostOffset(field: field) else {
      throw Qcow2FormatError(.invalidTable, "\(name) offset invalid")
    }
    return offset
  }

  /// The names of feature bits: as the image's table calls them, or the rest as one number.
  private static func describe(
    _ features: IncompatibleFeatures, names: [FeatureName]
  ) -> String {
    var rest = features
    var texts: [String] = []
    for entry in names where entry.rawKind == FeatureName.Kind.incompatible.rawValue {
      guard entry.bit < 64, !entry.name.isEmpty else { continue }
      let bit = IncompatibleFeatures(rawValue: 1 << UInt64(entry.bit))
      guard rest.contains(bit) else { continue }
      texts.append(entry.name.description)
      rest.remove(bit)
    }
    if !rest.isEmpty {
      texts.append("Unknown incompatible feature: " + String(rest.rawValue, radix: 16))
    }
    return texts.joined(separator: ", ")
  }

  /// Where header extensions may lie: behind the header, up to the backing file's name or the end
  /// of the cluster.
  ///
  /// Only for fields whose lengths are checked.
  var extensionRange: ByteRange {
    let end = backingNameOffset == 0 ? UInt64(1) << UInt64(clusterBits) : backingNameOffset
    return ByteRange(Int(headerLength), max(Int(headerLength), Int(end)))
  }
}
