internal import BlockLayer
internal import Lamina
internal import Primitives
internal import Qcow2
internal import SystemPackage

/// An image that is to be made: what `create`, `convert`, `dd` and `measure` were asked for.
struct ImageRequest {
  /// The name as it was given.
  let path: String
  let format: String
  /// The host's file.
  private let hostPath: FilePath
  private(set) var options: FormatOptions
  private let tool: Tool

  /// An image of `format` with the options of `lists`; throws for what cannot be made, and for
  /// options that there are not.
  init(
    _ tool: Tool, path: String, format: String, _ lists: [String] = []
  ) throws(ToolFailure) {
    self.tool = tool
    self.path = path
    self.format = format
    try FormatOptions.check(format: format)
    hostPath = FilePath(try Self.hostPath(of: path))
    options = try FormatOptions(lists, known: FormatOptions.creating(format), tool)
  }

  /// The path of the host's file that a name means; images are made nowhere else.
  static func hostPath(of name: String) throws(ToolFailure) -> String {
    if let path = ImageName(name).plainPath { return path }
    throw ToolFailure(message: "Unknown protocol '\(ImageName.scheme(of: name) ?? "")'")
  }

  /// The place of the new file.
  var place: FilePath { hostPath }

  // MARK: - Options

  /// The backing file's name, as it is recorded.
  var backing: String? { options.text("backing_file") }
  /// The backing file's format.
  var backingFormat: String? { options.text("backing_fmt") }

  /// The size that the options state; nil where they state none.
  var statedSize: Int? {
    guard let bits = options.bits("size"), bits != .max else { return nil }
    return Int(truncatingIfNeeded: bits)
  }

  /// Takes the size of the disk, in bytes.
  mutating func setSize(_ size: Int) throws(ToolFailure) {
    try options.set("size", String(UInt64(bitPattern: Int64(size))), tool)
  }

  /// Takes a backing file and its format, which win over those of the options.
  mutating func setBacking(_ name: String?, _ format: String?) throws(ToolFailure) {
    if let name {
      guard self.format == "qcow2" else {
        throw ToolFailure(message: "Backing file not supported for file format '\(self.format)'")
      }
      try options.set("backing_file", name, tool)
    }
    if let format {
      guard self.format == "qcow2" else {
        throw ToolFailure(
          message: "Backing file format not supported for file format '\(self.format)'")
      }
      try options.set("backing_fmt", format, tool)
    }
  }

  /// What qemu-img prints before it makes the image.
  var announcement: String {
    let defaults =
      format == "qcow2"
      ? [
        "cluster_size": "65536", "extended_l2": "off", "compression_type": "zlib",
        "lazy_refcounts": "off", "refcount_bits": "16",
      ] : [:]
    return "Formatting '\(path)', fmt=\(format)" + options.announcement(defaults)
  }

  // MARK: - Making

  /// Makes the image, of the size that was set; a file that a node of the graph uses, or that the
  /// image is to stand on, is refused untouched.
  func perform(in graph: BlockGraph) async throws(ToolFailure) {
    let size = statedSize ?? 0
    do throws(BlockError) {
      if format == "qcow2" {
        try await makeQcow2(graph, size)
      } else {
        try await makeRaw(graph, size)
      }
    } catch {
      throw ToolFailure(message: error.message)
    }
  }

  /// Makes the image while others of the graph are open: one that is copied would be emptied.
  func performBesideSources(in graph: BlockGraph) async throws(ToolFailure) {
    do throws(BlockError) {
      try graph.checkUnused(place)
    } catch {
      throw ToolFailure(message: "\(error.message)\nIs another process using the image [\(path)]?")
    }
    try await perform(in: graph)
  }

  /// Removes the data file that was made with the image, which has failed.
  func removeDataFile(_ made: FileIdentity?) { dataFilePlace?.removeRegularFile(made) }

  /// The place of the data file; nil without one.
  var dataFilePlace: FilePath? {
    options.text("data_file").map { place.removingLastComponent().pushing(FilePath($0)) }
  }

  /// Throws where there is no room for a file: that is told before what is wrong with the image.
  private func checkFolder() throws(BlockError) {
    let folder = hostPath.removingLastComponent()
    do {
      if hostPath.isEmpty { throw Errno.noSuchFileOrDirectory }
      if folder.isEmpty { return }
      try FileDescriptor.open(folder, .readOnly, options: .directory).close()
    } catch {
      throw .host(error as? Errno ?? .ioError, "Could not create '\(path)'")
    }
  }

  private func makeQcow2(_ graph: BlockGraph, _ size: Int) async throws(BlockError) {
    try checkFolder()
    guard let rounded = size.checkedRoundedUp(to: 512), rounded >= 0 else {
      throw BlockError(
        .invalidArgument, "Could not resize image: Image size cannot be negative")
    }
    let image: NewImageOptions
    do throws(ToolFailure) {
      image = try imageOptions(rounded)
    } catch {
      throw BlockError(.invalidArgument, error.message)
    }
    try await graph.createQcow2(at: hostPath, image, replacing: true)
  }

  private func makeRaw(_ graph: BlockGraph, _ size: Int) async throws(BlockError) {
    let name = options.text("preallocation") ?? "off"
    guard let mode = Preallocation(rawValue: name) else {
      throw BlockError(.invalidArgument, "invalid parameter value: \(name)")
    }
    try checkFolder()
    guard mode != .metadata else {
      throw BlockError(.unsupported, "Unsupported preallocation mode: metadata")
    }
    guard let rounded = size.checkedRoundedUp(to: 512), rounded >= 0 else {
      throw BlockError(.invalidArgument, "Could not resize file: Invalid argument")
    }
    let files = try await graph.newHostFiles([hostPath], replacing: true)
    try await files.fill { () throws(BlockError) in
      do throws(BlockError) {
        try await files.nodes[0].resize(to: rounded, preallocation: mode)
      } catch {
        guard error.errno == .fileTooLarge else { throw error }
        throw BlockError(
          .invalidArgument, "The image size is too large for file format '\(format)'")
      }
    }
  }

  /// The options that matter to `measure`, which has words of its own for what is wrong with them.
  func measuredOptions() throws(ToolFailure) -> NewImageOptions {
    var image = NewImageOptions(virtualSize: 0)
    let compat = options.text("compat") ?? "1.1"
    guard ["0.10", "1.1"].contains(compat), let version = FormatOptions.version(compat) else {
      throw ToolFailure(message: "Invalid compatibility level: '\(compat)'")
    }
    image.version = version
    let name = options.text("preallocation") ?? "off"
    guard let mode = Preallocation(rawValue: name) else {
      throw ToolFailure(message: "invalid parameter value: \(name)")
    }
    image.preallocation = mode
    takeLayout(&image)
    image.backingFileName = backing.map { EmbeddedName($0) }
    image.backingFormat = backing.map { _ in EmbeddedName(backingFormat ?? "raw") }
    return image
  }

  private func takeLayout(_ image: inout NewImageOptions) {
    if let bits = options.bits("cluster_size") { image.clusterSize = Int(clamping: bits) }
    if let bits = options.bits("refcount_bits") { image.refcountBits = Int(clamping: bits) }
    image.hasLazyRefcounts = options.flag("lazy_refcounts")
    image.hasExtendedL2 = options.flag("extended_l2")
  }

  /// The image's options; throws for values that the format does not have.
  func imageOptions(_ size: Int) throws(ToolFailure) -> NewImageOptions {
    var image = NewImageOptions(virtualSize: size)
    image.version = try word("compat", "version", "1.1", FormatOptions.version)
    if let name = backingFormat {
      _ = try word("backing_fmt", "backing-fmt", name) { FormatOptions.isDriver($0) ? $0 : nil }
    }
    try checkEncryption()
    image.preallocation = try word("preallocation", "preallocation", "off") {
      Preallocation(rawValue: $0)
    }
    if let bits = options.bits("refcount_bits"), bits > UInt64(Int64.max),
      options.text("refcount_bits")?.contains("-") == false
    {
      throw ToolFailure(message: "Parameter 'refcount-bits' expects integer")
    }
    image.compressionType = try word("compression_type", "compression-type", "zlib") {
      ["zlib": .deflate, "zstd": .zstd][$0]
    }
    takeLayout(&image)
    image.dataFileName = options.text("data_file").map { EmbeddedName($0) }
    if options.text("data_file") == "" {
      throw ToolFailure(message: "Could not create '': \(Errno.noSuchFileOrDirectory)")
    }
    image.isDataFileRaw = options.flag("data_file_raw")
    image.backingFileName = backing.map { EmbeddedName($0) }
    image.backingFormat = backingFormat.map { EmbeddedName($0) }
    return image
  }

  /// What a word of the options means; messages know it by another name.
  private func word<Value>(
    _ key: String, _ name: String, _ usual: String, _ meaning: (String) -> Value?
  ) throws(ToolFailure) -> Value {
    let text = options.text(key) ?? usual
    guard let value = meaning(text) else {
      throw ToolFailure(message: "Parameter '\(name)' does not accept value '\(text)'")
    }
    return value
  }

  /// Refuses what would be encrypted; what is wrong with it in QEMU too is told as there.
  private func checkEncryption() throws(ToolFailure) {
    let isOld = options.flag("encryption")
    let keys = options.keys.filter { $0.hasPrefix("encrypt.") }
    guard isOld || !keys.isEmpty else { return }
    let format = options.text("encrypt.format")
    if format != nil, options.text("encryption") != nil {
      throw ToolFailure(
        message: "'encrypt.format' and its alias 'encryption' can't be used at the same time")
    }
    guard let format = format ?? (isOld ? "aes" : nil) else {
      throw ToolFailure(message: "Parameter 'encrypt.format' is missing")
    }
    guard ["aes", "luks"].contains(format) else {
      throw ToolFailure(message: "Parameter 'format' does not accept value '\(format)'")
    }
    guard options.text("encrypt.key-secret") != nil else {
      throw ToolFailure(message: "Parameter 'encrypt.key-secret' is required for cipher")
    }
    throw ToolFailure(message: "Encrypted images are not made")
  }
}
