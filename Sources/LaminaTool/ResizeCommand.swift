internal import BlockLayer
internal import Lamina
internal import Primitives

/// `lamina resize`, spelled as `qemu-img resize`.
enum ResizeCommand {
  static let options = OptionParser("f:format= q:quiet :preallocation= :shrink")

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    if words.contains("--help") || words.contains("-h") {
      tool.console.print(
        "lamina resize [-f FMT] [-q] [--preallocation=off|metadata|falloc|full] [--shrink] FILE "
          + "[+-]SIZE")
      return 0
    }
    // The last word is the size, whatever it looks like: a sign makes no option of it.
    guard words.count >= 2, let last = words.last else {
      throw ToolFailure.usage("Not enough arguments")
    }
    let parsed = try options.parse(Array(words.dropLast()))
    guard parsed.operands.count == 1 else {
      throw ToolFailure.usage("Expecting image file name and size")
    }
    let name = parsed.value("preallocation") ?? "off"
    guard let preallocation = Preallocation(rawValue: name) else {
      throw ToolFailure(message: "Invalid preallocation mode '\(name)'")
    }
    let change = try Change(last)
    let session = try ImageSession(tool)
    let node = try await session.open(
      parsed.operands[0], format: parsed.value("format"), readOnly: false)
    do {
      let length = try change.applied(to: node.length)
      try check(tool, from: node.length, to: length, preallocation, parsed.has("shrink"))
      try await node.resize(to: length, mayShrink: true, preallocation: preallocation)
    } catch {
      try? await session.graph.close(node)
      throw error
    }
    try await session.graph.close(node)
    if !parsed.has("quiet") { tool.console.print("Image resized.") }
    return 0
  }

  private static func check(
    _ tool: Tool, from old: Int, to length: Int, _ preallocation: Preallocation,
    _ mayShrink: Bool
  ) throws(ToolFailure) {
    guard length > old || preallocation == .off else {
      throw ToolFailure(message: "Preallocation can only be used for growing images")
    }
    guard length < old, !mayShrink else { return }
    throw ToolFailure(
      message: "Use the --shrink option to perform a shrink operation.\n"
        + "\(tool.name): warning: Shrinking an image will delete all data beyond the shrunken "
        + "image's end. Before performing such an operation, make sure there is no important "
        + "data there.")
  }

  /// The size that was asked for: a number of bytes, or so many more or less.
  private struct Change {
    private let sign: Int
    private let size: Int

    init(_ text: String) throws(ToolFailure) {
      sign = text.hasPrefix("+") ? 1 : text.hasPrefix("-") ? -1 : 0
      size = try FormatOptions.size(sign == 0 ? text : String(text.dropFirst()), "size")
    }

    func applied(to old: Int) throws(ToolFailure) -> Int {
      guard sign != 0 else { return try positive(size) }
      let (sum, overflow) = old.addingReportingOverflow(sign * size)
      guard !overflow else { throw ToolFailure(message: "New image size is too large") }
      return try positive(sum)
    }

    private func positive(_ length: Int) throws(ToolFailure) -> Int {
      guard length > 0 else { throw ToolFailure(message: "New image size must be positive") }
      return length
    }
  }
}
