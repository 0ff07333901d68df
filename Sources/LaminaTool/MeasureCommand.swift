internal import BlockLayer
internal import ImageOps
internal import Lamina
internal import Primitives
internal import Qcow2

/// `measure`, spelled as qemu-img's.
enum MeasureCommand {
  private static let options = OptionParser(
    "f= O= o= l= :image-opts :object= :output= :size= U:force-share")

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    var size: Int?
    var isJSON = false
    var snapshot: SnapshotReference?
    let parsed: OptionParser.Result
    do {
      parsed = try options.parse(words, of: tool) { name, value in
        switch name {
        case "size": size = try tool.size(value, "image size")
        case "output": isJSON = try Output.isJSON(value)
        case "l": snapshot = try SnapshotReference(parameter: value, tool)
        case "o": try checkList(value)
        default: break
        }
      }
    } catch let failure as ToolFailure where failure.hintsAtHelp {
      // qemu-img leaves it to the C library to say what is wrong, under the verb's name.
      tool.console.complain("\(tool.verb): \(failure.libraryMessage ?? failure.message)")
      throw HelpRequest()
    }
    let file = parsed.operands.first
    try check(parsed, hasSize: size != nil)
    let session = try ImageSession(tool)
    let measure: ImageMeasure
    if let file {
      let source = try await open(ImageName(file, parsed), snapshot, parsed, session)
      do {
        let measurer = try measurer(tool, parsed)
        measure = try await measurer.measure(source.contents, bitmapsOf: source.image)
      } catch {
        try? await source.close(session.graph)
        throw error
      }
      try await source.close(session.graph)
    } else {
      measure = try measurer(tool, parsed).measure(length: size ?? 0)
    }
    report(tool, measure, isJSON)
    return 0
  }

  private static func check(
    _ parsed: OptionParser.Result, hasSize: Bool
  ) throws(ToolFailure) {
    let hasFile = !parsed.operands.isEmpty
    if parsed.operands.count > 1 {
      throw ToolFailure(message: "At most one filename argument is allowed.")
    }
    if !hasFile, parsed.has("image-opts") || parsed.has("f") || parsed.has("l") {
      throw ToolFailure(message: "--image-opts, -f, and -l require a filename argument.")
    }
    if !hasFile, !hasSize {
      throw ToolFailure(message: "Either --size N or one filename must be specified.")
    }
    if hasFile, hasSize {
      throw ToolFailure(message: "--size N cannot be used together with a filename.")
    }
  }

  private static func checkList(_ list: String) throws(ToolFailure) {
    let commas = list.reversed().prefix { $0 == "," }.count
    if list.isEmpty || list.hasPrefix(",") || commas % 2 == 1 {
      throw ToolFailure(message: "Invalid option list: \(list)")
    }
  }

  // MARK: - The source

  /// An image, and what of it is measured: itself, or one of its snapshots.
  private struct Source {
    let image: BlockNode
    var contents: BlockNode

    func close(_ graph: BlockGraph) async throws(BlockError) {
      if contents !== image { try await graph.close(contents) }
      try await graph.close(image)
    }
  }

  private static func open(
    _ name: ImageName, _ snapshot: SnapshotReference?, _ parsed: OptionParser.Result,
    _ session: ImageSession
  ) async throws -> Source {
    let share = parsed.has("force-share")
    let image = try await session.open(name, format: parsed.value("f"), forceShare: share)
    var source = Source(image: image, contents: image)
    guard let snapshot else { return source }
    do {
      guard let store = image.driver as? any SnapshotStore else {
        let format = image.driver.driverName
        throw ToolFailure(
          message: "Failed to load snapshot: Block format '\(format)' used by device '' does not "
            + "support temporarily loading internal snapshots")
      }
      let snapshots = try await store.snapshots()
      guard (try? snapshot.find(in: snapshots)) != nil else {
        throw ToolFailure(message: "Failed to load snapshot: Can't find snapshot")
      }
      source.contents = try await session.open(
        name, format: parsed.value("f"), forceShare: share, snapshot: snapshot)
      return source
    } catch {
      try? await session.graph.close(image)
      throw error
    }
  }

  // MARK: - The target

  private static func measurer(
    _ tool: Tool, _ parsed: OptionParser.Result
  ) throws -> ImageMeasurer {
    let format = parsed.value("O") ?? "raw"
    switch format {
    case "qcow2", "raw": break
    case "file": throw ToolFailure(message: "Block driver 'file' does not support size measurement")
    case "null-co", "blkdebug":
      throw ToolFailure(message: "Format driver '\(format)' does not support image creation")
    default: throw ToolFailure(message: "Unknown file format '\(format)'")
    }
    var request = ImageRequest(path: format, format: format)
    do throws(ToolFailure) {
      try request.take(parsed.all("o"))
    } catch {
      throw ToolFailure(
        message: "\(wrongOption(error.message, format))\n\(tool.name): "
          + "Invalid options for file format '\(format)'")
    }
    return format == "raw" ? .raw : try request.imageOptions(0).measurer()
  }

  /// What is said of an option's value.
  private static func wrongOption(_ message: String, _ format: String) -> String {
    let prefix = "\(format): "
    if message.hasPrefix(prefix) { return String(message.dropFirst(prefix.count)) }
    guard message.hasPrefix("Invalid image size") else { return message }
    return "Parameter 'size' expects a non-negative number below 2^64\n"
      + "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
      + "and exabytes, respectively."
  }

  private static func report(_ tool: Tool, _ measure: ImageMeasure, _ isJSON: Bool) {
    if isJSON {
      var fields: [(String, JSONText)] = []
      if let bitmaps = measure.bitmaps { fields.append(("bitmaps", .number(bitmaps))) }
      fields.append(("required", .number(measure.required)))
      fields.append(("fully-allocated", .number(measure.fullyAllocated)))
      tool.console.print(JSONText.object(fields).pretty())
    } else {
      tool.console.print("required size: \(measure.required)")
      tool.console.print("fully allocated size: \(measure.fullyAllocated)")
      if let bitmaps = measure.bitmaps { tool.console.print("bitmaps size: \(bitmaps)") }
    }
  }
}

extension SnapshotReference {
  /// What `-l` says: `snapshot.id=…,snapshot.name=…`, or an id or a name.
  fileprivate init(parameter text: String, _ tool: Tool) throws(ToolFailure) {
    guard text.hasPrefix("snapshot.") else {
      self = .idOrName(text)
      return
    }
    var found: SnapshotReference?
    for item in OptionText.items(text) {
      let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      if parts.count == 1 {
        tool.console.complain(
          "\(tool.name): warning: short-form boolean option '\(item)' deprecated\n"
            + "Please use \(item)=on instead")
      }
      let value = parts.count > 1 ? String(parts[1]) : "on"
      switch parts[0] {
      case "snapshot.id": found = .id(value)
      case "snapshot.name": if found == nil { found = .name(value) }
      default:
        throw ToolFailure(
          message: "Invalid parameter '\(parts[0])'\n"
            + "\(tool.name): Failed in parsing snapshot param '\(text)'")
      }
    }
    self = found ?? .idOrName(text)
  }
}
