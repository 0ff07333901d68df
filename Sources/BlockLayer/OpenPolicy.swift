public import SystemPackage

/// The gate that is asked before any file *named inside an image* is opened.
///
/// An image may come from anywhere, and the names in it are data until someone trusts them. A
/// name that the caller gives is not asked about.
public struct OpenPolicy: Sendable {
  /// What an image refers to.
  public struct Reference: Sendable {
    /// What the file is to the image.
    public let role: ChildRole
    /// The name as the image has it.
    public let name: String
    /// The format that the image states, if any.
    public let format: String?
    /// The folder of the image itself; nil when it is no host file.
    public let folder: FilePath?

    /// Makes a reference.
    public init(role: ChildRole, name: String, format: String?, folder: FilePath?) {
      self.role = role
      self.name = name
      self.format = format
      self.folder = folder
    }
  }

  /// What the gate lets through.
  public struct Grant: Sendable {
    /// The host file to open.
    public let path: FilePath
    /// The format to open it with; nil to probe, which only `permissive` does.
    public let format: String?
    /// A folder that the file, with every link resolved, must lie in.
    public let confinement: FilePath?

    /// Makes a grant.
    public init(path: FilePath, format: String?, confinement: FilePath? = nil) {
      self.path = path
      self.format = format
      self.confinement = confinement
    }
  }

  /// The longest backing chain that is followed.
  public var maxDepth: Int
  /// The largest disk, in bytes, that an image may claim to be.
  ///
  /// An image of a few KiB can show any number of zeros: who copies disks bounds them here.
  public var maxVirtualSize = Int.max
  /// Whether a file whose format nobody states may be probed.
  public let allowsProbing: Bool
  private let gate: @Sendable (Reference) throws(BlockError) -> Grant

  /// A policy of one's own.
  public init(
    maxDepth: Int = 200, allowsProbing: Bool = false,
    gate: @escaping @Sendable (Reference) throws(BlockError) -> Grant
  ) {
    self.maxDepth = maxDepth
    self.allowsProbing = allowsProbing
    self.gate = gate
  }

  /// Asks the gate.
  public func grant(_ reference: Reference) throws(BlockError) -> Grant { try gate(reference) }

  /// Follows nothing.
  public static let none = OpenPolicy { reference throws(BlockError) in
    throw refusal(reference, "the open policy follows no names; pass the node yourself")
  }

  /// Follows relative names of backing files that stay inside the image's own folder and have an
  /// explicit format; no data files.
  ///
  /// The library's default.
  public static let confined = OpenPolicy { reference throws(BlockError) in
    let path = try plainPath(reference)
    guard reference.role != .dataFile else {
      throw refusal(
        reference,
        "data files are written, too, and the confined open policy follows none; pass its node "
          + "yourself, or use the permissive policy")
    }
    guard let folder = reference.folder, path.isRelative,
      !path.components.contains(where: { $0.kind == .parentDirectory })
    else {
      throw refusal(
        reference,
        "it leads out of the image's folder; the confined open policy follows names "
          + "inside it only")
    }
    guard let format = reference.format else {
      throw refusal(
        reference,
        "the image does not state its format; record one with 'rebase -u -b "
          + "\(printable(reference.name)) -F FORMAT'")
    }
    return Grant(path: folder.pushing(path), format: format, confinement: folder)
  }

  /// Follows every name of a host file, and probes where no format is stated, as qemu's own tools
  /// do.
  ///
  /// For images that one trusts.
  public static let permissive = OpenPolicy(allowsProbing: true) { reference throws(BlockError) in
    let path = try plainPath(reference)
    let full = path.isRelative ? (reference.folder ?? FilePath(".")).pushing(path) : path
    return Grant(path: full, format: reference.format)
  }

  /// The name as a host path; a name in another language than that of paths is refused.
  private static func plainPath(_ reference: Reference) throws(BlockError) -> FilePath {
    var name = reference.name
    if name.hasPrefix("file:") {
      name.removeFirst("file:".count)
    } else if name.prefix(while: { $0 != "/" }).contains(":") {
      throw refusal(
        reference,
        "names with a protocol are not followed (a file with a colon in its name is "
          + "written ./NAME)")
    }
    guard !name.isEmpty, !name.utf8.contains(0) else {
      throw refusal(reference, "it is no file name")
    }
    return FilePath(name)
  }

  /// The error of a gate that says no.
  public static func refusal(_ reference: Reference, _ why: String) -> BlockError {
    BlockError(
      .refused,
      "the image names the \(reference.role) file '\(printable(reference.name))', which was not "
        + "opened: \(why)")
  }

  /// A name from an image, safe to print: control characters are shown as hexadecimal.
  public static func printable(_ name: String) -> String {
    var text = ""
    for scalar in name.unicodeScalars {
      if scalar.value < 0x20 || (0x7f..<0xa0).contains(scalar.value) {
        text += "\\x" + String(scalar.value, radix: 16)
      } else {
        text.unicodeScalars.append(scalar)
      }
    }
    return text
  }
}
