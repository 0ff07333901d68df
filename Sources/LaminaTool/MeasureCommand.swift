internal import BlockLayer
internal import ImageOps
internal import Lamina
internal import Primitives
internal import Qcow2

/// `lamina measure`, spelled as `qemu-img measure`.
enum MeasureCommand {
  static let options = OptionParser(
    "f= O= o= l= :image-opts :object= :output= :size= U:force-share")

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    let parsed = try options.parse(words, of: tool)
    let isJSON = try Output.isJSON(parsed.value("output"))
    let size = parsed.value("size")
    guard size == nil || parsed.operands.isEmpty else {
      throw ToolFailure(message: "--size N cannot be used together with a filename.")
    }
    guard (size == nil) == (parsed.operands.count == 1), parsed.operands.count <= 1 else {
      throw ToolFailure(message: "Either --size N or one filename must be specified.")
    }
    let session = try ImageSession(tool)
    let measurer = try measurer(tool, parsed)
    let measure: ImageMeasure
    if let size {
      measure = try measurer.measure(length: try tool.size(size, "image size"))
    } else {
      let node = try await session.open(
        parsed.operands[0], format: parsed.value("f"), forceShare: parsed.has("force-share"))
      measure = try await measurer.measure(node)
      try await session.graph.close(node)
    }
    report(tool, measure, isJSON)
    return 0
  }

  private static func measurer(
    _ tool: Tool, _ parsed: OptionParser.Result
  ) throws -> ImageMeasurer {
    let format = parsed.value("O") ?? "raw"
    let request = try ImageRequest(tool, path: format, format: format, parsed.all("o"))
    return format == "raw" ? .raw : try request.imageOptions(0).measurer()
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
