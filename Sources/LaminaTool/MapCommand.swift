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
    var start = 0
    var count: Int?
    let parsed = try options.parse(words, of: tool) { name, value in
      if name == "start-offset" { start = try tool.size(value, "start offset") }
      if name == "max-length" { count = try tool.size(value, "max length") }
    }
    guard parsed.operands.count == 1 else {
      throw ToolFailure.usage("Expecting one image file name")
    }
    let isJSON = try Output.isJSON(parsed.value("output"))
    let session = try ImageSession(tool, policy: parsed.value("policy"))
    var options = OpenOptions(format: parsed.value("format"), readOnly: true)
    if parsed.has("force-share") { options.locking = .forceShare }
    let built = try await session.build(ImageName(parsed.operands[0], parsed), options)
    let node = built.node
    let (sum, overflow) = start.addingReportingOverflow(count ?? node.length)
    let end = overflow ? node.length : min(node.length, sum)
    let range = ByteRange(min(start, end), end)
    if isJSON {
      try await printJSON(tool, node, range, start: start)
    } else {
      try await printHuman(tool, built, range)
    }
    try await session.graph.close(node)
    return 0
  }

  /// An empty range is one entry of nothing, at `start`.
  private static func printJSON(
    _ tool: Tool, _ node: BlockNode, _ range: ByteRange, start: Int
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
    let nothing =
      "{ \"start\": \(start), \"length\": 0, \"depth\": 0, \"present\": false, "
      + "\"zero\": false, \"data\": false}"
    tool.console.print((isFirst ? "[" : "") + (line ?? nothing) + "]")
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
    _ tool: Tool, _ image: NodeBuilder.Built, _ range: ByteRange
  ) async throws {
    tool.console.print("Offset          Length          Mapped to       File")
    var isBroken = false
    try await image.node.forEachMapEntry(in: range) { entry in
      guard entry.isData, !entry.isZero, !isBroken else { return }
      guard let offset = entry.offset else {
        isBroken = true
        return
      }
      tool.console.print(
        column(entry.start) + column(entry.length) + column(offset)
          + fileName(image, depth: entry.depth))
    }
    if isBroken {
      throw ToolFailure(message: "File contains external, encrypted or compressed clusters.")
    }
  }

  private static func column(_ number: Int) -> String {
    let text = number == 0 ? "0" : "0x" + String(number, radix: 16)
    return text + String(repeating: " ", count: max(1, 16 - text.count))
  }

  /// The name of the file that keeps the bytes of the layer at `depth`.
  private static func fileName(_ image: NodeBuilder.Built, depth: Int) -> String {
    var layer = image.node.dataNode
    for _ in 0..<depth { layer = layer.backing?.dataNode ?? layer }
    let hasDataFile = layer.driver.children.contains { $0.role == .dataFile }
    if depth == 0, !hasDataFile, let name = image.fileName { return name.text }
    var file = layer
    while let edge = file.driver.children.first(where: { $0.role == .dataFile })
      ?? file.driver.children.first(where: { $0.role == .file })
    {
      file = edge.node
    }
    return (file.driver as? FileDriver)?.path.string ?? image.name.text
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
