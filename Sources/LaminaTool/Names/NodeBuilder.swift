internal import BlockLayer
internal import Lamina
internal import SystemPackage

/// Builds the nodes that a name describes, from the bottom up.
struct NodeBuilder {
  /// A node, the folder to which names in its image are relative, and how it is shown.
  struct Built {
    let node: BlockNode
    let folder: FilePath?
    let name: ShownName
    let format: String
    /// How the file is shown in which the image lies.
    var fileName: ShownName?
  }

  let tool: Tool
  let graph: BlockGraph
  /// How the image is opened; what is below it, as the image needs it.
  var options: OpenOptions
  /// Whether the image's own format is left unopened: the node is the file in which it lies.
  var leavesFormat = false

  /// Opens the image.
  func open(_ name: ImageName) async throws(BlockError) -> Built {
    if let settings = try name.settings(format: options.format) {
      return try await top(settings)
    }
    if let format = options.format, Self.protocols.contains(format) {
      return try await protocolNode(name.text, format)
    }
    if let format = options.format { try checkFormat(format) }
    let file = try await protocolNode(name.text)
    return try await format(file, NodeSettings(), options.format)
  }

  // MARK: - Options

  /// The drivers below which there is no image.
  private static let protocols = ["file", "null-co", "blkdebug"]

  private func checkFormat(_ format: String) throws(BlockError) {
    guard graph.registry.formatNames.contains(format) else {
      throw BlockError(.unsupported, "Unknown driver '\(OptionText.printable(format))'")
    }
  }

  /// The node of an image whose format the options may leave open.
  private func top(_ settings: NodeSettings) async throws(BlockError) -> Built {
    var settings = settings
    if let driver = settings.takeString("driver") { return try await node(driver, settings) }
    guard settings.items.contains(where: { $0.key == "file" || $0.key.hasPrefix("file.") }) else {
      throw BlockError(.invalidArgument, "Must specify either driver or file")
    }
    var builder = self
    try builder.takeCommon(&settings)
    let file = try await builder.child("file", &settings)
    return try await builder.format(file, settings, nil)
  }

  /// A node below an image: without a driver, a file.
  private func below(_ settings: NodeSettings) async throws(BlockError) -> Built {
    var settings = settings
    if let driver = settings.takeString("driver") { return try await node(driver, settings) }
    guard settings.items.contains(where: { $0.key == "filename" }) else {
      throw BlockError(.invalidArgument, "Must specify either driver or file")
    }
    return try await node("file", settings)
  }

  private func node(_ driver: String, _ settings: NodeSettings) async throws(BlockError) -> Built {
    var settings = settings
    var builder = self
    switch driver {
    case "file", "null-co", "blkdebug": break
    default: try checkFormat(driver)
    }
    try builder.takeCommon(&settings)
    switch driver {
    case "file": return try await builder.file(settings)
    case "null-co": return try builder.null(settings)
    case "blkdebug": return try await builder.blkdebug(settings)
    default:
      let file = try await builder.child("file", &settings)
      return try await builder.format(file, settings, driver)
    }
  }

  /// The options that every node has.
  private mutating func takeCommon(_ settings: inout NodeSettings) throws(BlockError) {
    if let name = settings.take("node-name") { try graph.checkNodeName(name) }
    if let discard = settings.take("discard") {
      guard let mode = ["ignore", "off", "unmap", "on"].firstIndex(of: discard) else {
        throw BlockError(.invalidArgument, "Invalid discard option")
      }
      options.node.discard = mode < 2 ? .ignore : .unmap
    }
    if let mode = try settings.takeWord("detect-zeroes", ["off", "on", "unmap"]) {
      options.node.detectZeroes = mode == "off" ? .off : mode == "on" ? .on : .unmap
    }
    _ = try settings.takeFlag("cache.direct")
    if let ignores = try settings.takeFlag("cache.no-flush"), ignores {
      options.node.ignoresFlush = true
    }
    _ = try settings.takeFlag("auto-read-only")
    if let isReadOnly = try settings.takeFlag("read-only"), isReadOnly { options.isReadOnly = true }
    if let shares = try settings.takeFlag("force-share"), shares { options.locking = .forceShare }
  }

  /// The child `name`, which the options must describe.
  private func child(
    _ name: String, _ settings: inout NodeSettings
  ) async throws(BlockError) -> Built {
    if let reference = settings.takeString(name) {
      let shown = OptionText.printable(reference)
      throw BlockError(
        .notFound, "Cannot find device='\(shown)' nor node-name='\(shown)'")
    }
    _ = settings.takeValue(name)  // An empty object.
    let child = settings.takeChild(name)
    guard !child.isEmpty else {
      throw BlockError(.invalidArgument, "A block device must be specified for \"\(name)\"")
    }
    var builder = self
    // What only the image itself has.
    builder.options.snapshot = nil
    builder.options.backing = .fromImage
    builder.leavesFormat = false
    return try await builder.below(child)
  }

  private func checkEmpty(
    _ settings: NodeSettings, _ driver: String, isFormat: Bool = false
  ) throws(BlockError) {
    guard let key = settings.firstKey else { return }
    let name = OptionText.printable(key)
    throw BlockError(
      .invalidArgument,
      isFormat
        ? "Block format '\(driver)' does not support the option '\(name)'"
        : "Block protocol '\(driver)' doesn't support the option '\(name)'")
  }

  // MARK: - Protocols

  /// The node that a name with or without a protocol stands for.
  private func protocolNode(
    _ name: String, _ driver: String? = nil
  ) async throws(BlockError) -> Built {
    var settings = NodeSettings()
    let scheme = ImageName.scheme(of: name)
    switch scheme {
    case nil: settings.set("filename", .string(name))
    case "file": settings.set("filename", .string(String(name.dropFirst("file:".count))))
    case "json": return try await top(ImageName.settings(json: name))
    case "null-co":
      guard name == "null-co://" else {
        throw BlockError(
          .invalidArgument, "The only allowed filename for this driver is 'null-co://'")
      }
    case "blkdebug": return try await blkdebug(named: name)
    case let other?:
      throw BlockError(.unsupported, "Unknown protocol '\(OptionText.printable(other))'")
    }
    return try await node(driver ?? scheme ?? "file", settings)
  }

  private func file(_ settings: NodeSettings) async throws(BlockError) -> Built {
    var settings = settings
    let name = settings.take("filename") ?? ""
    var options = options
    options.format = "file"
    options.snapshot = nil
    if try settings.takeWord("locking", ["auto", "on", "off"]) == "off",
      case .locked = options.locking
    {
      options.locking = .off
    }
    _ = try settings.takeWord("aio", ["threads", "native", "io_uring"])
    _ = try settings.takeSize("aio-max-batch")
    _ = try settings.takeFlag("drop-cache")
    _ = try settings.takeFlag("x-check-cache-dropped")
    guard !name.isEmpty else {
      throw BlockError(.invalidArgument, "The 'file' block driver requires a file name")
    }
    guard !name.utf8.contains(0) else {
      throw BlockError(.invalidArgument, "a file's name has no zero bytes")
    }
    let path = FilePath(name)
    let node = try await graph.open(path, options)
    let built = Built(
      node: node, folder: path.removingLastComponent(),
      name: ShownName(driver: "file", [("filename", .string(name))], exact: name),
      format: "file")
    return try await checked(built) { () throws(BlockError) in
      try checkEmpty(settings, "file")
      return built
    }
  }

  private func null(_ settings: NodeSettings) throws(BlockError) -> Built {
    var settings = settings
    let given = settings.items.filter { ["size", "read-zeroes"].contains($0.key) }
    let size = try settings.takeSize("size") ?? 1 << 30
    let readsZeroes = try settings.takeFlag("read-zeroes") ?? false
    let latency = try settings.takeSize("latency-ns") ?? 0
    if let name = settings.take("filename"), name != "null-co://" {
      throw BlockError(
        .invalidArgument, "The only allowed filename for this driver is 'null-co://'")
    }
    try checkEmpty(settings, "null-co")
    let driver = NullDriver(
      length: size, readsZeroes: readsZeroes, latencyNanoseconds: UInt64(latency))
    return Built(
      node: try graph.addNode(driver, options: options.node), folder: nil,
      name: ShownName(
        driver: "null-co", given.map { ($0.key, JSONText($0.value)) },
        exact: given.isEmpty ? "null-co://" : nil),
      format: "null-co")
  }

  /// Runs `body`; when it fails, closes what it stands on.
  private func checked<Value>(
    _ below: Built, _ body: () async throws(BlockError) -> Value
  ) async throws(BlockError) -> Value {
    do throws(BlockError) {
      return try await body()
    } catch {
      try? await graph.close(below.node)
      throw error
    }
  }
}

// MARK: - blkdebug

extension NodeBuilder {
  /// `blkdebug:CONFIG:IMAGE`.
  private func blkdebug(named name: String) async throws(BlockError) -> Built {
    let words = name.dropFirst("blkdebug:".count)
    guard let colon = words.firstIndex(of: ":") else {
      throw BlockError(.invalidArgument, "blkdebug requires both config file and image path")
    }
    let config = String(words[..<colon])
    let rules = try await BlkdebugSettings(file: config.isEmpty ? nil : config)
    let image = try await protocolNode(String(words[words.index(after: colon)...]))
    return try await filter(image, rules, shown: [], config: config)
  }

  private func blkdebug(_ settings: NodeSettings) async throws(BlockError) -> Built {
    var settings = settings
    let config = settings.take("config")
    var shown = settings.items.filter { !$0.key.hasPrefix("image.") }.map {
      (key: $0.key, value: JSONText($0.value))
    }
    var rules = try await BlkdebugSettings(file: config)
    try rules.take(&settings)
    let image = try await child("image", &settings)
    return try await checked(image) { () async throws(BlockError) in
      try checkEmpty(settings, "blkdebug")
      if !shown.isEmpty, let config { shown.append(("config", .string(config))) }
      return try await filter(image, rules, shown: shown, config: config ?? "")
    }
  }

  private func filter(
    _ image: Built, _ rules: BlkdebugSettings, shown: [(key: String, value: JSONText)],
    config: String
  ) async throws(BlockError) -> Built {
    let options = options
    return try await checked(image) { () async throws(BlockError) in
      let driver = try BlkdebugDriver(
        image: image.node, rules: rules.rules, limits: rules.limits)
      let node = try graph.addNode(driver, options: options.node)
      let exact = shown.isEmpty ? image.name.exact.map { "blkdebug:\(config):\($0)" } : nil
      return Built(
        node: node, folder: image.folder,
        name: ShownName(
          driver: "blkdebug", [("image", image.name.object)] + shown, exact: exact),
        format: "blkdebug")
    }
  }
}

// MARK: - Formats

extension NodeBuilder {
  /// The image of `driver` that lies in `file`; nil looks at it.
  private func format(
    _ file: Built, _ settings: NodeSettings, _ driver: String?
  ) async throws(BlockError) -> Built {
    try await checked(file) { () async throws(BlockError) in
      var builder = self
      let name: String
      if let driver {
        name = driver
      } else {
        name = try await graph.probe(file.node)
        builder.options.isFormatGuessed = true
        if name == "raw", !options.isReadOnly { warnOfGuess(file.name) }
      }
      builder.options.format = name
      return name == "raw"
        ? try await builder.raw(file, settings) : try await builder.image(file, settings, name)
    }
  }

  private func warnOfGuess(_ name: ShownName) {
    tool.console.complain(
      "WARNING: Image format was not specified for '\(OptionText.printable(name.text))' and "
        + "probing guessed raw.\n         Automatically detecting the format is dangerous for raw "
        + "images, write operations on block 0 will be restricted.\n"
        + "         Specify the 'raw' format explicitly to remove the restrictions.")
  }

  private func raw(_ file: Built, _ settings: NodeSettings) async throws(BlockError) -> Built {
    var settings = settings
    let given = settings.items.filter { ["offset", "size"].contains($0.key) }
    let offset = try settings.takeSize("offset") ?? 0
    let size = try settings.takeSize("size")
    try checkEmpty(settings, "raw", isFormat: true)
    let isFile = Self.protocols.contains(file.node.driver.driverName)
    let name = ShownName(
      driver: "raw", [("file", file.name.object)] + given.map { ($0.key, JSONText($0.value)) },
      exact: given.isEmpty && isFile ? file.name.exact : nil)
    let node: BlockNode
    if given.isEmpty {
      node = try await graph.open(file: file.node, options, folder: file.folder)
    } else {
      guard options.snapshot == nil else {
        throw BlockError(.unsupported, "raw images have no internal snapshots")
      }
      node = try graph.addNode(
        try RawDriver(file: file.node, offset: offset, size: size), options: options.node)
    }
    return Built(
      node: node, folder: file.folder, name: name, format: "raw", fileName: file.name)
  }

  private func image(
    _ file: Built, _ settings: NodeSettings, _ driver: String
  ) async throws(BlockError) -> Built {
    var settings = settings
    var builder = self
    if let value = settings.takeValue("backing") {
      switch value {
      case .null: break
      case .string(""):
        tool.console.complain(
          "\(tool.name): warning: Use of \"backing\": \"\" is deprecated; "
            + "use \"backing\": null instead")
      default: settings.set("backing", value)
      }
      builder.options.backing = .ignore
    }
    try Qcow2Settings.take(&settings)
    var others: [Built] = []
    if !settings.items.filter({ $0.key.hasPrefix("data-file.") }).isEmpty {
      let data = try await child("data-file", &settings)
      others.append(data)
      builder.options.dataFile = .node(data.node)
    }
    if case .fromImage = options.backing,
      settings.items.contains(where: { $0.key.hasPrefix("backing.") })
    {
      var below = self
      below.options.isReadOnly = true
      below.options.format = nil
      let backing = try await below.top(settings.takeChild("backing"))
      others.append(backing)
      builder.options.backing = .node(backing.node)
    }
    let isFile = Self.protocols.contains(file.node.driver.driverName)
    do throws(BlockError) {
      try checkEmpty(settings, driver, isFormat: true)
      let node =
        leavesFormat
        ? file.node
        : try await graph.open(file: file.node, builder.options, folder: file.folder)
      return Built(
        node: node, folder: file.folder,
        name: ShownName(
          driver: driver, [("file", file.name.object)], exact: isFile ? file.name.exact : nil),
        format: driver, fileName: file.name)
    } catch {
      for other in others { try? await graph.close(other.node) }
      throw error
    }
  }
}
