public import Primitives

/// What a new image shall be (qemu-img's manual page, "create", options of qcow2).
public struct NewImageOptions: Hashable, Sendable {
  /// The virtual size in bytes, a multiple of 512.
  public var virtualSize: Int
  /// The version of the format.
  public var version: FormatVersion = .v3
  /// The cluster size in bytes.
  public var clusterSize: Int = 65536
  /// The width of refcounts in bits.
  public var refcountBits: Int = 16
  /// Whether refcount updates may be postponed.
  public var hasLazyRefcounts = false
  /// Whether clusters have subclusters.
  public var hasExtendedL2 = false
  /// The codec of compressed clusters.
  public var compressionType: CompressionType = .deflate
  /// The name of the backing file, as it shall stand in the image.
  public var backingFileName: EmbeddedName?
  /// The format of the backing file; must be there if and only if there is one.
  public var backingFormat: EmbeddedName?

  /// The name of the file that holds the guest's data, as it shall stand in the image; nil where
  /// the image itself does.
  public var dataFileName: EmbeddedName?
  /// Whether that file shall always be byte for byte what the guest sees.
  public var isDataFileRaw = false
  /// How much of the disk has its place at once.
  public var preallocation: Preallocation = .off

  /// Makes the options of a usual image: version 3, 64 KiB clusters, 16-bit refcounts.
  public init(virtualSize: Int) { self.virtualSize = virtualSize }
}

extension NewImageOptions {
  /// The geometry of the image.
  ///
  /// Throws for options that the format cannot express, with QEMU's texts.
  public func geometry() throws(Qcow2FormatError) -> Geometry {
    let sizes = (1 << FormatLimits.minimumClusterBits)...(1 << FormatLimits.maximumClusterBits)
    guard clusterSize.isPowerOfTwo, sizes.contains(clusterSize) else {
      throw invalid("Cluster size must be a power of two between 512 and 2048k")
    }
    try checkExtendedL2()
    try checkSize()
    guard preallocation == .off || backingFileName == nil || hasExtendedL2 else {
      throw invalid(
        "Backing file and preallocation can only be used at the same time if extended_l2 is on")
    }
    try checkVersion(whenUsed: hasLazyRefcounts, "Lazy refcounts")
    guard refcountBits.isPowerOfTwo, refcountBits <= 64 else {
      throw invalid("Refcount width must be a power of two and may not exceed 64 bits")
    }
    try checkVersion()
    try checkBackingFile()
    try checkDataFile()
    let geometry = Geometry(
      clusterBits: clusterSize.exponentOfTwo, refcountOrder: refcountBits.exponentOfTwo,
      hasExtendedL2: hasExtendedL2)
    guard virtualSize <= geometry.maximumVirtualSize else {
      throw Qcow2FormatError(
        .tooLarge,
        "The image size is too large for file format 'qcow2' (try using a larger cluster size)")
    }
    return geometry
  }

  private func checkExtendedL2() throws(Qcow2FormatError) {
    guard hasExtendedL2 else { return }
    try checkVersion(whenUsed: true, "Extended L2 entries are")
    let minimum = FormatLimits.minimumSubclusterSize * ExtendedL2Entry.subclusterCount
    guard clusterSize >= minimum else {
      throw invalid(
        "Extended L2 entries are only supported with cluster sizes of at least \(minimum) bytes")
    }
  }

  private func checkSize() throws(Qcow2FormatError) {
    guard virtualSize >= 0 else { throw invalid("Image size must not be negative") }
    guard virtualSize.isAligned(to: 512) else {
      throw invalid("Image size must be a multiple of 512 bytes")
    }
  }

  private func checkVersion() throws(Qcow2FormatError) {
    guard version == .v3 || refcountBits == 16 else {
      throw invalid(
        "Different refcount widths than 16 bits require compatibility level 1.1 or above "
          + "(use version=v3 or greater)")
    }
    try checkVersion(whenUsed: dataFileName != nil, "External data files are")
    try checkVersion(whenUsed: compressionType != .deflate, "Non-zlib compression type is")
  }

  private func checkVersion(whenUsed isUsed: Bool, _ what: String) throws(Qcow2FormatError) {
    guard isUsed, version == .v2 else { return }
    throw invalid(
      "\(what) only supported with compatibility level 1.1 and above (use version=v3 or greater)")
  }

  private func checkBackingFile() throws(Qcow2FormatError) {
    if backingFileName == nil, backingFormat != nil {
      throw invalid("Backing format cannot be used without backing file")
    }
    if backingFileName != nil, backingFormat == nil {
      throw invalid("Backing file specified without backing format")
    }
  }

  private func checkDataFile() throws(Qcow2FormatError) {
    if isDataFileRaw {
      guard dataFileName != nil else { throw invalid("data-file-raw requires data-file") }
      guard backingFileName == nil else {
        throw invalid("Backing file and data-file-raw cannot be used at the same time")
      }
    }
  }

  /// Whether every cluster is mapped from the beginning; a raw data file demands it.
  var mapsEverything: Bool { preallocation != .off || isDataFileRaw }

  private func invalid(_ message: String) -> Qcow2FormatError {
    Qcow2FormatError(.invalidOption, message)
  }
}
