public import SystemPackage

/// The drivers that images are opened with, by name.
///
/// The engine has no list of formats: whoever opens images says which there are. The umbrella
/// module `Lamina` has the standard registry.
public struct DriverRegistry: Sendable {
  /// Makes a driver over an image that lies in the node below `file`.
  public typealias FormatOpener =
    @Sendable (_ file: BlockNode, _ context: OpenContext) async throws(BlockError) ->
    any BlockDriver

  /// Makes a driver over a host file.
  public typealias HostOpener =
    @Sendable (_ path: FilePath, _ options: OpenOptions) async throws(BlockError) -> any BlockDriver

  /// Makes a host file that is empty, or empties one that is there and nobody uses, and opens it
  /// for writing.
  public typealias HostCreator =
    @Sendable (_ path: FilePath, _ existing: FileDriver.Existing) async throws(BlockError) ->
    any BlockDriver

  private struct Format: Sendable {
    let name: String
    let creator: ImageCreator?
    let recognises: (@Sendable (RawSpan) -> Bool)?
    let open: FormatOpener
  }

  private var formats: [Format] = []
  private var host: HostOpener?
  private var hostCreator: HostCreator?

  /// A registry without drivers.
  public init() {}

  /// Host files, and the format `raw`: all that this module has.
  ///
  /// Other modules' formats are added to a copy of it.
  public static let base: DriverRegistry = {
    var registry = DriverRegistry()
    registry.setHostFiles { path, options throws(BlockError) in
      try FileDriver.open(path, options)
    }
    registry.setHostFileCreation { path, existing throws(BlockError) in
      try FileDriver.create(path, existing: existing)
    }
    registry.addFormat("raw", creator: .raw) { file, context throws(BlockError) in
      guard context.options.isFormatGuessed else { return try RawDriver(file: file) }
      let registry = context.graph.registry
      return try RawDriver(file: file) { registry.probe($0) == "raw" }
    }
    return registry
  }()

  /// Adds a format.
  ///
  /// `recognises` looks at a file's first bytes (up to 512), for probing. Without a creator no new
  /// images of the format can be made.
  public mutating func addFormat(
    _ name: String, recognises: (@Sendable (RawSpan) -> Bool)? = nil,
    creator: ImageCreator? = nil, open: @escaping FormatOpener
  ) {
    formats.removeAll { $0.name == name }
    formats.append(
      Format(name: name, creator: creator, recognises: recognises, open: open))
  }

  /// Sets how host files are opened.
  public mutating func setHostFiles(_ open: @escaping HostOpener) { host = open }

  /// Sets how host files are made.
  public mutating func setHostFileCreation(_ create: @escaping HostCreator) {
    hostCreator = create
  }

  /// The names of the formats, in the order in which they were added.
  public var formatNames: [String] { formats.map(\.name) }

  func format(_ name: String) throws(BlockError) -> FormatOpener {
    guard let format = formats.first(where: { $0.name == name }) else {
      throw BlockError(
        .unsupported,
        "Unknown driver '\(OpenPolicy.printable(name))' (there are: "
          + formatNames.joined(separator: ", ") + ")")
    }
    return format.open
  }

  /// How images of a format are made; throws with QEMU's texts.
  func creator(_ name: String) throws(BlockError) -> ImageCreator {
    guard let format = formats.first(where: { $0.name == name }) else {
      throw BlockError(.unsupported, "Unknown file format '\(OpenPolicy.printable(name))'")
    }
    guard let creator = format.creator else {
      throw BlockError(
        .unsupported, "Format driver '\(name)' does not support image creation")
    }
    return creator
  }

  func hostFileCreation() throws(BlockError) -> HostCreator {
    guard let hostCreator else {
      throw BlockError(.unsupported, "this registry makes no host files")
    }
    return hostCreator
  }

  func hostOpener() throws(BlockError) -> HostOpener {
    guard let host else { throw BlockError(.unsupported, "this registry opens no host files") }
    return host
  }

  /// The format that recognises a file's first bytes; `raw` when none does.
  ///
  /// Whoever may write to a raw image can make it look like any format: never probe what a guest
  /// could have written.
  public func probe(_ head: RawSpan) -> String {
    formats.first { $0.recognises?(head) ?? false }?.name ?? "raw"
  }
}
