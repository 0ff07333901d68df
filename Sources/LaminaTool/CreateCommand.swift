internal import BlockLayer
internal import Lamina
internal import Primitives

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
    var given = FormatOptions()
    for list in parsed.all("options") { given.take(list) }
    let format = parsed.value("format") ?? "raw"
    if given.asksForHelp {
      try explain(tool, format, hasFile: !parsed.operands.isEmpty)
      return 0
    }
    guard let path = parsed.operands.first else {
      throw ToolFailure.usage("Expecting image file name")
    }
    guard parsed.operands.count <= 2 else {
      throw ToolFailure.usage("Unexpected argument: \(parsed.operands[2])")
    }
    var request = ImageRequest(path: path, format: format)
    if parsed.operands.count == 2 { request.size = try size(parsed.operands[1]) }
    for (key, value) in given.pairs { try request.take(key, value) }
    if let name = parsed.value("backing") { request.backing = name }
    if let format = parsed.value("backing-format") { request.backingFormat = format }
    let session = try ImageSession(tool)
    try await request.perform(session, opensBacking: !parsed.has("u"), isQuiet: parsed.has("quiet"))
    return 0
  }

  /// `-o help`.
  private static func explain(
    _ tool: Tool, _ format: String, hasFile: Bool
  ) throws(ToolFailure) {
    let known = ["qcow2": FormatOptions.qcow2, "raw": FormatOptions.raw]
    guard let options = known[format] else {
      throw ToolFailure(message: "Unknown file format '\(format)'")
    }
    tool.console.print("Supported \(format) options:")
    for option in options { tool.console.print(option.line) }
    guard !hasFile else { return }
    tool.console.print()
    tool.console.print("The protocol level may support further options.")
    tool.console.print("Specify the target filename to include those options.")
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
