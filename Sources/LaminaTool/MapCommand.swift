internal import BlockLayer
internal import ImageOps
internal import Lamina
internal import Primitives
internal import SystemPackage

/// `lamina map`, spelled as `qemu-img map`.
enum MapCommand {
  static let options = OptionParser(
    "f:format= :output= s:start-offset= l:max-length= :object= :image-opts U:force-share",
    ours: ":policy=")

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    let parsed = try options.parse(words, of: tool)
    guard parsed.operands.count == 1 else {
      throw ToolFailure.usage("Expecting one image file name")
    }
    let isJSON = try Output.isJSON(parsed.value("output"))
    let session = try ImageSession(tool, policy: parsed.value("policy"))
    let node = try await session.open(
      ImageName(parsed.operands[0], parsed), format: parsed.value("format"),
      forceShare: parsed.has("force-share"))
    let range = try window(parsed, node.length)
    if isJSON {
      try await printJSON(tool, node, range)
    } else {
      try await printHuman(tool, node, range)
    }
    try await session.graph.close(node)
    return 0
  }

  private static func window(
    _ parsed: OptionParser.Result, _ length: Int
  ) throws(ToolFailure) -> ByteRange {
    var lower = 0
    var upper = length
    if let text = parsed.value("start-offset") {
      guard let offset = ByteSize.parse(text) else {
        throw ToolFailure(
          message: "Invalid start offset specified. "
            + "You may use k, M, G, T, P or E suffixes")
      }
      lower = min(offset, length)
    }
    if let text = parsed.value("max-length") {
      guard let count = ByteSize.parse(text) else {
        throw ToolFailure(
          message: "Invalid max length specified. "
            + "You may use k, M, G, T, P or E suffixes")
      }
      upper = min(length, count > length - lower ? length : lower + count)
    }
    return ByteRange(lower, max(lower, upper))
  }

  private static func printJSON(
    _ tool: Tool, _ node: BlockNode, _ range: ByteRange
  ) async throws(BlockError) {
    var line: String?
    var isFirst = true
    try await node.forEachMapEntry(in: range) { entry in
      if let line {
        tool.console.print((isFirst ? "[" : "") + line + ",")
        isFirst = false
      }
      line = json(entry)
    }
    tool.console.print((isFirst ? "[" : "") + (line ?? "") + "]")
  }

  private static func json(_ entry: MapEntry) -> String {
    var text =
      "{ \"start\": \(entry.start), \"length\": \(entry.length), "
      + "\"depth\": \(entry.depth), \"present\": \(entry.isPresent), "
      + "\"zero\": \(entry.isZero), \"data\": \(entry.isData)"
    if let offset = entry.offset { text += ", \"offset\": \(offset)" }
    return text + "}"
  }

  private static func printHuman(
    _ tool: Tool, _ node: BlockNode, _ range: ByteRange
  ) async throws(BlockError) {
    tool.console.print("Offset          Length          Mapped to       File")
    var failure: ToolFailure?
    try await node.forEachMapEntry(in: range) { entry in
      guard entry.isData, !entry.isZero else { return }
      guard let offset = entry.offset else {
        failure = ToolFailure(message: "File contains external, encrypted or compressed clusters.")
        return
      }
      tool.console.print(
        column(entry.start) + column(entry.length) + column(offset)
          + fileName(node, depth: entry.depth))
    }
    if let failure { throw BlockError(.unsupported, failure.message) }
  }

  private static func column(_ number: Int) -> String {
    let text = number == 0 ? "0" : "0x" + String(number, radix: 16)
    return text + String(repeating: " ", count: max(1, 16 - text.count))
  }

  /// The name of the file that keeps the bytes of the layer at `depth`.
  private static func fileName(_ node: BlockNode, depth: Int) -> String {
    var layer = node.dataNode
    for _ in 0..<depth { layer = layer.backing?.dataNode ?? layer }
    var file = layer
    while let below = file.primary { file = below }
    return (file.driver as? FileDriver)?.path.string ?? file.name
  }
}

/// The values of `--output`.
enum Output {
  static func isJSON(_ value: String?) throws(ToolFailure) -> Bool {
    switch value {
    case nil, "human": false
    case "json": true
    default: throw ToolFailure(message: "--output must be used with human or json as argument.")
    }
  }
}
