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
    var snapshot: SnapshotWish?
    let parsed: OptionParser.Result
    do {
      parsed = try options.parse(words, of: tool) { name, value in
        switch name {
        case "size": size = try tool.size(value, "image size")
        case "output": isJSON = try Output.isJSON(value)
        case "l": snapshot = try SnapshotWish(value, tool)
        case "o": try FormatOptions.check(value)
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
    _ name: ImageName, _ snapshot: SnapshotWish?, _ parsed: OptionParser.Result,
    _ session: ImageSession
  ) async throws -> Source {
    let share = parsed.has("force-share")
    let image = try await session.open(name, format: parsed.value("f"), forceShare: share)
    var source = Source(image: image, contents: image)
    guard let snapshot else { return source }
    do {
      let reference = try await snapshot.find(in: image)
      source.contents = try await session.open(
        name, format: parsed.value("f"), forceShare: share, snapshot: reference)
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
    guard format != "file" else {
      throw ToolFailure(message: "Block driver 'file' does not support size measurement")
    }
    _ = try FormatOptions.known(format)
    let request: ImageRequest
    do throws(ToolFailure) {
      request = try ImageRequest(tool, path: format, format: format, parsed.all("o"))
    } catch {
      throw ToolFailure(
        message: error.message + "\n\(tool.name): Invalid options for file format '\(format)'")
    }
    return format == "raw" ? .raw : try request.measuredOptions().measurer()
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
