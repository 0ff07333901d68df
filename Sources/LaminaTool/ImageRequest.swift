internal import BlockLayer
internal import Lamina
internal import Primitives
internal import Qcow2
internal import SystemPackage

/// An image that is to be made: what `create`, `convert` and `measure` were asked for.
struct ImageRequest {
  let path: String
  let format: String
  var size: Int?
  var backing: String?
  var backingFormat: String?
  /// The values of other options, as they were written.
  private var values: [String: String] = [:]

  init(path: String, format: String) {
    self.path = path
    self.format = format
  }

  /// Takes the lists of every `-o`.
  mutating func take(_ lists: [String]) throws(ToolFailure) {
    var given = FormatOptions()
    for list in lists { given.take(list) }
    for (key, value) in given.pairs { try take(key, value) }
  }

  /// Takes a pair of `-o`.
  mutating func take(_ key: String, _ value: String) throws(ToolFailure) {
    let known = format == "raw" ? FormatOptions.raw : FormatOptions.qcow2
    switch key {
    case "size":
      guard size == nil else {
        throw failure("The image size must be specified only once")
      }
      size = try CreateCommand.size(value)
    case "backing_file" where format != "raw": backing = value
    case "backing_fmt" where format != "raw": backingFormat = value
    case _ where key.hasPrefix("encrypt") && format != "raw":
      throw failure("Not supported: \(key)=\(value): Lamina makes no encrypted images")
    case _ where known.contains { $0.key == key }: values[key] = value
    default: throw failure("Invalid parameter '\(key)'")
    }
  }

  private func failure(_ text: String) -> ToolFailure {
    ToolFailure(message: "\(path): \(text)")
  }

  private func number(_ key: String) throws(ToolFailure) -> Int? {
    guard let text = values[key] else { return nil }
    guard let number = ByteSize.parse(text) else {
      throw failure("Parameter '\(key)' expects a non-negative number below 2^64")
    }
    return number
  }

  private func flag(_ key: String) throws(ToolFailure) -> Bool {
    try FormatOptions.flag(values[key] ?? "off", key)
  }

  private func preallocation() throws(ToolFailure) -> Preallocation {
    let name = values["preallocation"] ?? "off"
    guard let mode = Preallocation(rawValue: name) else {
      throw failure("Parameter 'preallocation' does not accept value '\(name)'")
    }
    return mode
  }

  /// Makes the image; a file that a node of the session's graph uses, or that the image is to stand
  /// on, is refused untouched.
  func perform(_ session: ImageSession, opensBacking: Bool, isQuiet: Bool) async throws {
    let tool = session.tool
    guard ["qcow2", "raw"].contains(format) else {
      throw failure("Unknown file format '\(format)'")
    }
    if format == "raw", backing != nil {
      throw failure("Backing file not supported for file format 'raw'")
    }
    if backing == nil, backingFormat != nil {
      throw failure("Backing format cannot be used without backing file")
    }
    let size = try await size(session, opensBacking)
    if format == "raw" {
      try await makeRaw(session, size, isQuiet)
      return
    }
    guard let rounded = size.checkedRoundedUp(to: 512) else {
      throw failure("The image size is too large for file format 'qcow2'")
    }
    let announcement = try announcement(rounded)
    if !isQuiet { tool.console.print(announcement) }
    let options = try imageOptions(rounded)
    do {
      try await session.graph.createQcow2(at: FilePath(path), options, replacing: true)
    } catch {
      throw failure("\(error.message)")
    }
  }

  private func makeRaw(_ session: ImageSession, _ size: Int, _ isQuiet: Bool) async throws {
    guard let rounded = size.checkedRoundedUp(to: 512) else {
      throw failure("The image size is too large for file format 'raw'")
    }
    let mode = try preallocation()
    if !isQuiet {
      let tool = session.tool
      let more = values["preallocation"].map { " preallocation=\($0)" } ?? ""
      tool.console.print("Formatting '\(path)', fmt=raw size=\(size)\(more)")
    }
    do throws(BlockError) {
      guard mode != .metadata else {
        throw BlockError(.unsupported, "Unsupported preallocation mode: metadata")
      }
      let files = try await session.graph.newHostFiles([FilePath(path)], replacing: true)
      try await files.fill { () throws(BlockError) in
        try await files.nodes[0].resize(to: rounded, preallocation: mode)
      }
    } catch {
      throw failure(error.message)
    }
  }

  /// The size asked for, or that of the backing file.
  private func size(_ session: ImageSession, _ opensBacking: Bool) async throws -> Int {
    guard let backing else {
      guard let size else {
        throw failure("Image creation needs a size parameter")
      }
      return size
    }
    guard let backingFormat else {
      throw ToolFailure(
        message: "\(path): Backing file specified without backing format\nSay it with -F FMT.")
    }
    guard opensBacking else {
      guard let size else {
        throw failure("Image creation needs a size parameter")
      }
      return size
    }
    let folder = FilePath(path).removingLastComponent()
    let place = folder.pushing(FilePath(backing))
    guard !place.isSameFile(as: FilePath(path)) else {
      throw failure("Error: Trying to create an image with the same filename as the backing file")
    }
    let node: BlockNode
    do throws(BlockError) {
      node = try await session.open(place.string, format: backingFormat)
    } catch {
      throw failure("\(error.message)\nCould not open backing image.")
    }
    let length = node.length
    do throws(BlockError) {
      // Nor may the new image, or its data file, be a layer below the backing file.
      try session.graph.checkUnused(FilePath(path))
      if let name = values["data_file"] {
        try session.graph.checkUnused(folder.pushing(FilePath(name)))
      }
      try await session.graph.close(node)
    } catch {
      try? await session.graph.close(node)
      throw failure(error.message)
    }
    return size ?? length
  }

  /// The image's options; throws for those that the format does not have.
  func imageOptions(_ size: Int) throws(ToolFailure) -> NewImageOptions {
    var options = NewImageOptions(virtualSize: size)
    let compat = values["compat"] ?? "1.1"
    guard let version = FormatOptions.version(compat) else {
      throw failure("Parameter 'version' does not accept value '\(compat)'")
    }
    options.version = version
    if let clusterSize = try number("cluster_size") { options.clusterSize = clusterSize }
    if let refcountBits = try number("refcount_bits") { options.refcountBits = refcountBits }
    options.hasLazyRefcounts = try flag("lazy_refcounts")
    options.hasExtendedL2 = try flag("extended_l2")
    switch values["compression_type"] ?? "zlib" {
    case "zlib": options.compressionType = .deflate
    case "zstd": options.compressionType = .zstd
    case let other: throw failure("Parameter 'compression-type' does not accept value '\(other)'")
    }
    options.preallocation = try preallocation()
    options.dataFileName = values["data_file"].map { EmbeddedName($0) }
    options.isDataFileRaw = try flag("data_file_raw")
    options.backingFileName = backing.map { EmbeddedName($0) }
    options.backingFormat = backingFormat.map { EmbeddedName($0) }
    return options
  }

  /// What qemu-img prints: what was given as it was given, and some defaults.
  private func announcement(_ size: Int) throws(ToolFailure) -> String {
    let clusterSize = try number("cluster_size") ?? 65536
    let refcountBits = try number("refcount_bits") ?? 16
    var text = "Formatting '\(path)', fmt=qcow2 cluster_size=\(clusterSize)"
    func add(_ key: String, _ value: String?) { if let value { text += " \(key)=\(value)" } }
    add("extended_l2", values["extended_l2"] ?? "off")
    add("preallocation", values["preallocation"])
    add("compression_type", values["compression_type"] ?? "zlib")
    add("size", String(size))
    add("backing_file", backing)
    add("backing_fmt", backingFormat)
    add("compat", values["compat"])
    add("data_file", values["data_file"])
    add("data_file_raw", values["data_file_raw"])
    add("lazy_refcounts", values["lazy_refcounts"] ?? "off")
    add("refcount_bits", String(refcountBits))
    return text
  }
}
