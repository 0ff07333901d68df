internal import ArgumentParser
internal import BlockLayer
internal import DirtyBitmap
internal import Lamina
internal import Primitives

/// `lamina bitmap`: our own verbs on an image's persistent bitmaps.
struct BitmapCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lamina bitmap", abstract: "An image's persistent dirty bitmaps.",
    subcommands: [
      List.self, Dump.self, Add.self, Remove.self, Clear.self, Enable.self, Disable.self,
    ])

  /// Whether the words of a call are those of our own verbs, and not of qemu-img's.
  static func knows(_ words: [String]) -> Bool {
    guard let first = words.first(where: { !$0.hasPrefix("-") }) else {
      return words.allSatisfy { ["-h", "--help"].contains($0) }
    }
    return first == words.first
      && (["help"] + configuration.subcommands.map { $0._commandName }).contains(first)
  }

  struct List: ToolVerb {
    static let configuration = CommandConfiguration(abstract: "Tell which bitmaps an image has.")
    @Argument(help: "The image.") var file: String
    @Option(help: "human or json.") var output: String?
    @Flag(name: [.customShort("U"), .customLong("force-share")], help: "Read an image in use.")
    var forceShare = false

    func perform(_ tool: Tool) async throws -> Int32 {
      let isJSON = try Output.isJSON(output)
      return try await BitmapCommand.reading(tool, file, forceShare) { node in
        // The directory's order: the last loaded is the newest.
        let bitmaps = node.bitmaps.all.reversed().map(\.info)
        if isJSON {
          tool.console.print(JSONText.array(bitmaps.map(\.json)).pretty())
        } else {
          for info in bitmaps { tool.console.print(info.line) }
          if bitmaps.isEmpty { tool.console.print("No bitmaps.") }
        }
      }
    }
  }

  struct Dump: ToolVerb {
    static let configuration = CommandConfiguration(
      abstract: "Tell which parts of the disk are dirty in a bitmap.")
    @Argument(help: "The image.") var file: String
    @Argument(help: "The bitmap; may be left out when there is only one.") var name: String?
    @Option(help: "picture, human (extents) or json; a picture on a terminal.") var output: String?
    @Flag(name: [.customShort("U"), .customLong("force-share")], help: "Read an image in use.")
    var forceShare = false

    func perform(_ tool: Tool) async throws -> Int32 {
      let form = output ?? (tool.console.isTerminal ? "picture" : "human")
      guard ["picture", "human", "json"].contains(form) else {
        throw ToolFailure(message: "--output must be picture, human or json")
      }
      return try await BitmapCommand.reading(tool, file, forceShare) { node in
        let bitmap = try BitmapCommand.find(name, on: node)
        try bitmap.checkUsable()
        switch form {
        case "json": tool.console.print(bitmap.json.pretty())
        case "picture":
          let map = DirtyMap(bitmap, columns: min(tool.console.width, 100))
          for line in map.lines { tool.console.print(line) }
        default:
          for run in bitmap.runs { tool.console.print("\(run.lower)\t\(run.count)") }
        }
      }
    }
  }

  struct Add: ToolVerb {
    static let configuration = CommandConfiguration(abstract: "Add an empty, recording bitmap.")
    @Argument(help: "The image.") var file: String
    @Argument(help: "The bitmap.") var name: String
    @Option(help: "The bytes that a bit stands for, such as 64K.") var granularity: String?
    @Flag(help: "Let writes pass unrecorded.") var disabled = false

    func perform(_ tool: Tool) async throws -> Int32 {
      let granularity = try BackupSession.size(granularity, "granularity")
      return try await BitmapCommand.changing(tool, file) { node in
        try node.addBitmap(name, granularity: granularity, persistent: true, disabled: disabled)
      }
    }
  }

  struct Remove: ToolVerb {
    static let configuration = CommandConfiguration(abstract: "Remove a bitmap.")
    @Argument(help: "The image.") var file: String
    @Argument(help: "The bitmap.") var name: String

    func perform(_ tool: Tool) async throws -> Int32 {
      try await BitmapCommand.changing(tool, file) { try await $0.removeBitmap(name) }
    }
  }

  struct Clear: ToolVerb {
    static let configuration = CommandConfiguration(abstract: "Clear all bits of a bitmap.")
    @Argument(help: "The image.") var file: String
    @Argument(help: "The bitmap.") var name: String

    func perform(_ tool: Tool) async throws -> Int32 {
      try await BitmapCommand.changing(tool, file) { try $0.bitmaps.named(name).clear() }
    }
  }

  struct Enable: ToolVerb {
    static let configuration = CommandConfiguration(abstract: "Let a bitmap record writes.")
    @Argument(help: "The image.") var file: String
    @Argument(help: "The bitmap.") var name: String

    func perform(_ tool: Tool) async throws -> Int32 {
      try await BitmapCommand.changing(tool, file) { try $0.bitmaps.named(name).enable() }
    }
  }

  struct Disable: ToolVerb {
    static let configuration = CommandConfiguration(abstract: "Let writes pass unrecorded.")
    @Argument(help: "The image.") var file: String
    @Argument(help: "The bitmap.") var name: String

    func perform(_ tool: Tool) async throws -> Int32 {
      try await BitmapCommand.changing(tool, file) { try $0.bitmaps.named(name).disable() }
    }
  }

  // MARK: - Opening

  private static func reading(
    _ tool: Tool, _ file: String, _ forceShare: Bool, _ body: (BlockNode) throws -> Void
  ) async throws -> Int32 {
    let session = try ImageSession(tool)
    let node = try await session.open(
      file, format: "qcow2", forceShare: forceShare, backing: .ignore)
    try body(node)
    try await session.graph.close(node)
    return 0
  }

  /// Opens the image for writing, lets `body` change its bitmaps, and stores them: one switch.
  private static func changing(
    _ tool: Tool, _ file: String, _ body: (BlockNode) async throws -> Void
  ) async throws -> Int32 {
    let session = try ImageSession(tool)
    let node = try await session.open(file, format: "qcow2", readOnly: false, backing: .ignore)
    do {
      try await body(node)
    } catch {
      try? await session.graph.close(node)
      throw error
    }
    try await session.graph.close(node)
    return 0
  }

  private static func find(_ name: String?, on node: BlockNode) throws -> DirtyBitmap {
    if let name { return try node.bitmaps.named(name) }
    let all = node.bitmaps.all
    guard let only = all.first, all.count == 1 else {
      let names = all.compactMap(\.name).joined(separator: ", ")
      throw ToolFailure(
        message: all.isEmpty ? "The image has no bitmaps" : "Say which bitmap: \(names)")
    }
    return only
  }
}

extension BitmapInfo {
  fileprivate var line: String {
    let name = OpenPolicy.printable(name ?? "")
    return "\(name)\t\(status.rawValue)\tgranularity \(ByteSize.describe(granularity))\t"
      + "\(ByteSize.describe(count)) dirty"
  }

  fileprivate var json: JSONText {
    var fields: [(String, JSONText)] = [
      ("name", .string(name ?? "")), ("count", .number(count)),
      ("granularity", .number(granularity)), ("recording", .bool(isRecording)),
      ("busy", .bool(isBusy)), ("persistent", .bool(isPersistent)),
    ]
    if isInconsistent { fields.append(("inconsistent", .bool(true))) }
    return .object(fields)
  }
}

extension DirtyBitmap {
  fileprivate var json: JSONText {
    .object([
      ("name", .string(name ?? "")), ("granularity", .number(granularity)),
      ("size", .number(size)), ("count", .number(count)),
      (
        "extents",
        .array(
          runs.map { .object([("start", .number($0.lower)), ("length", .number($0.count))]) })
      ),
    ])
  }
}
