public import SystemPackage

/// How an image is opened.
public struct OpenOptions: Sendable {
  /// What becomes of the backing file that the image names.
  public enum Backing: Sendable {
    /// It is opened, if the policy's gate lets it.
    case fromImage
    /// It is left alone: unallocated clusters read as zeros.
    case ignore
    /// This node is used in its place.
    case node(BlockNode)
  }

  /// What becomes of the data file that the image names.
  public enum DataFile: Sendable {
    /// It is opened, if the policy's gate lets it.
    case fromImage
    /// This node is used in its place.
    case node(BlockNode)
  }

  /// How a host file is protected against other processes.
  public enum Locking: Sendable {
    /// QEMU's byte locks, so that a running VM and we keep apart.
    case locked
    /// Reads a file although another process may be writing to it (`--force-share`).
    case forceShare
    /// No locks.
    case off
  }

  /// The name of the image's format: `qcow2`, `raw`.
  ///
  /// Nil asks the policy whether to probe.
  public var format: String?
  /// Whether `format` was guessed from the file's first bytes: then a raw image may not be written
  /// so that it would be taken for another format the next time.
  ///
  /// A graph that probes sets it.
  public var isFormatGuessed = false
  /// The node's name; a name is generated if it is nil.
  public var nodeName: String?
  /// How the node treats requests.
  public var node: NodeOptions
  /// The backing file.
  public var backing: Backing
  /// The external data file, of an image that has one.
  public var dataFile = DataFile.fromImage
  /// The host file's locks.
  public var locking: Locking
  /// A folder that the host file, links resolved, must lie in; the gate of `confined` sets it.
  public var confinement: FilePath?
  /// Refuses devices; for files that images name and nobody has vouched for.
  public var isRegularFileOnly = false
  /// Opens what is damaged too, as far as it can be read, for a check.
  public var isForCheck = false
  /// The internal snapshot that the image is to show, with its length and without bitmaps; the
  /// image must be opened read-only.
  ///
  /// Nil for the disk as it is.
  public var snapshot: SnapshotReference?

  /// Options for a writable image; all else as QEMU has it.
  public init(
    format: String?, readOnly: Bool = false, nodeName: String? = nil, backing: Backing = .fromImage,
    locking: Locking = .locked, discard: NodeOptions.Discard = .ignore,
    detectZeroes: NodeOptions.DetectZeroes = .off
  ) {
    self.format = format
    self.nodeName = nodeName
    self.node = NodeOptions(isReadOnly: readOnly, discard: discard, detectZeroes: detectZeroes)
    self.backing = backing
    self.locking = locking
  }

  /// Whether writes are refused.
  public var isReadOnly: Bool {
    get { node.isReadOnly }
    set { node.isReadOnly = newValue }
  }
}
