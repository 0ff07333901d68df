internal import BlockLayer
internal import Lamina
internal import Primitives
internal import Qcow2
internal import SystemPackage

/// `lamina create`, spelled as `qemu-img create`.
enum CreateCommand {
  static let options = OptionParser("f:format= b:backing= F:backing-format= o:options= u q:quiet")

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    let parsed = try options.parse(words)
    if parsed.has("help") {
      tool.console.print(
        "lamina create [-q] [-f FMT] [-b BACKING -F FMT] [-u] [-o KEY=VALUE,…] FILE [SIZE]")
      return 0
    }
    guard let path = parsed.operands.first else {
      throw ToolFailure.usage("Expecting image file name")
    }
    guard parsed.operands.count <= 2 else {
      throw ToolFailure.usage("Unexpected argument: \(parsed.operands[2])")
    }
    var request = ImageRequest(path: path, format: parsed.value("format") ?? "raw")
    if parsed.operands.count == 2 { request.size = try size(parsed.operands[1]) }
    for list in parsed.all("options") { try request.take(list) }
    if let name = parsed.value("backing") { request.backing = name }
    if let format = parsed.value("backing-format") { request.backingFormat = format }
    try await request.perform(tool, opensBacking: !parsed.has("u"), isQuiet: parsed.has("quiet"))
    return 0
  }

  static func size(_ text: String) throws(ToolFailure) -> Int {
    guard let size = ByteSize.parse(text) else {
      throw ToolFailure(
        message: "Invalid image size specified. You may use k, M, G, T, P or E suffixes for "
          + "kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.")
    }
    return size
  }
}

/// What image was asked for.
struct ImageRequest {
  let path: String
  let format: String
  var size: Int?
  var backing: String?
  var backingFormat: String?
  var clusterSize: Int?
  var refcountBits: Int?
  var compat: String?
  var lazyRefcounts: Bool?

  init(path: String, format: String) {
    self.path = path
    self.format = format
  }

  /// Takes the `key=value` pairs of one `-o`.
  mutating func take(_ list: String) throws(ToolFailure) {
    for pair in list.split(separator: ",") {
      let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        .map(String.init)
      let key = parts[0]
      let value = parts.count > 1 ? parts[1] : "on"
      switch (format, key) {
      case (_, "size"): size = try CreateCommand.size(value)
      case ("qcow2", "cluster_size"): clusterSize = try number(value, key)
      case ("qcow2", "refcount_bits"): refcountBits = try number(value, key)
      case ("qcow2", "compat"): compat = value
      case ("qcow2", "backing_file"): backing = value
      case ("qcow2", "backing_fmt"): backingFormat = value
      case ("qcow2", "lazy_refcounts"): lazyRefcounts = value == "on"
      case ("qcow2", "preallocation") where value == "off": break
      case ("qcow2", "compression_type") where value == "zlib": break
      case ("qcow2", "extended_l2") where value == "off": break
      case ("qcow2", "preallocation"), ("qcow2", "compression_type"), ("qcow2", "extended_l2"),
        ("qcow2", "data_file"), ("qcow2", "encrypt.format"), ("qcow2", "encryption"):
        throw ToolFailure(message: "\(path): Not supported yet: \(key)=\(value)")
      default: throw ToolFailure(message: "\(path): Invalid parameter '\(key)'")
      }
    }
  }

  private func number(_ text: String, _ key: String) throws(ToolFailure) -> Int {
    guard let number = ByteSize.parse(text) else {
      throw ToolFailure(
        message: "\(path): Parameter '\(key)' expects a non-negative number below 2^64")
    }
    return number
  }

  func perform(_ tool: Tool, opensBacking: Bool, isQuiet: Bool) async throws {
    let session = try ImageSession(tool)
    guard ["qcow2", "raw"].contains(format) else {
      throw ToolFailure(message: "\(path): Unknown file format '\(format)'")
    }
    if format == "raw", backing != nil {
      throw ToolFailure(message: "\(path): Backing file not supported for file format 'raw'")
    }
    if backing == nil, backingFormat != nil {
      throw ToolFailure(message: "\(path): Backing format cannot be used without backing file")
    }
    let size = try await size(session, opensBacking)
    if format == "raw" {
      guard let rounded = size.checkedRoundedUp(to: 512) else {
        throw ToolFailure(message: "\(path): The image size is too large for file format 'raw'")
      }
      if !isQuiet { tool.console.print("Formatting '\(path)', fmt=raw size=\(size)") }
      try await FileDriver.create(FilePath(path), length: rounded, existing: .replace).close()
      return
    }
    let options = try imageOptions(size)
    if !isQuiet { tool.console.print(announcement(options)) }
    do {
      try await session.graph.createQcow2(at: FilePath(path), options, replacing: true)
    } catch {
      throw ToolFailure(message: "\(path): \(error.message)")
    }
  }

  /// The size asked for, or that of the backing file.
  private func size(_ session: ImageSession, _ opensBacking: Bool) async throws -> Int {
    guard let backing else {
      guard let size else {
        throw ToolFailure(message: "\(path): Image creation needs a size parameter")
      }
      return size
    }
    guard let backingFormat else {
      throw ToolFailure(
        message: "\(path): Backing file specified without backing format\nSay it with -F FMT.")
    }
    guard opensBacking else {
      guard let size else {
        throw ToolFailure(message: "\(path): Image creation needs a size parameter")
      }
      return size
    }
    let folder = FilePath(path).removingLastComponent()
    let place = FilePath(backing).isAbsolute ? FilePath(backing) : folder.pushing(FilePath(backing))
    do throws(BlockError) {
      let node = try await session.open(place.string, format: backingFormat)
      let length = node.length
      try await session.graph.close(node)
      return size ?? length
    } catch {
      throw ToolFailure(message: "\(path): \(error.message)\nCould not open backing image.")
    }
  }

  /// The image's options; throws for those that the format does not have.
  func imageOptions(_ size: Int) throws(ToolFailure) -> NewImageOptions {
    guard let rounded = size.checkedRoundedUp(to: 512) else {
      throw ToolFailure(message: "\(path): The image size is too large for file format 'qcow2'")
    }
    var options = NewImageOptions(virtualSize: rounded)
    switch compat ?? "1.1" {
    case "1.1", "v3": options.version = .v3
    case "0.10", "v2": options.version = .v2
    default:
      throw ToolFailure(
        message: "\(path): Parameter 'compat' does not accept value '\(compat ?? "")'")
    }
    if let clusterSize { options.clusterSize = clusterSize }
    if let refcountBits { options.refcountBits = refcountBits }
    if let lazyRefcounts { options.hasLazyRefcounts = lazyRefcounts }
    if let backing { options.backingFileName = EmbeddedName(bytes: Array(backing.utf8)) }
    if let backingFormat { options.backingFormat = EmbeddedName(bytes: Array(backingFormat.utf8)) }
    return options
  }

  private func announcement(_ options: NewImageOptions) -> String {
    var text =
      "Formatting '\(path)', fmt=qcow2 cluster_size=\(options.clusterSize) "
      + "extended_l2=off compression_type=zlib size=\(options.virtualSize)"
    if let backing, let backingFormat {
      text += " backing_file=\(backing) backing_fmt=\(backingFormat)"
    }
    if let compat { text += " compat=\(compat)" }
    text += " lazy_refcounts=\(options.hasLazyRefcounts ? "on" : "off")"
    return text + " refcount_bits=\(options.refcountBits)"
  }
}
