internal import BlockLayer
internal import Lamina
internal import Primitives

/// `lamina resize`, spelled as `qemu-img resize`.
enum ResizeCommand {
  static let options = OptionParser("f= q :object= :image-opts :preallocation= :shrink")

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    // The last word is the size, whatever it looks like: a sign makes no option of it.
    guard words.count >= 2, let last = words.last else {
      throw ToolFailure.usage("Not enough arguments")
    }
    var preallocation = Preallocation.off
    let parsed = try options.parse(Array(words.dropLast()), of: tool) { name, value in
      guard name == "preallocation" else { return }
      guard let mode = Preallocation(rawValue: value) else {
        throw ToolFailure(message: "Invalid preallocation mode '\(value)'")
      }
      preallocation = mode
    }
    guard parsed.operands.count == 1 else {
      throw ToolFailure.usage("Expecting image file name and size")
    }
    let change = try Change(last, tool)
    try parsed.checkFormat("f")
    let session = try ImageSession(tool)
    let node = try await session.open(
      ImageName(parsed.operands[0], parsed), format: parsed.value("f"), readOnly: false)
    do {
      let length = try change.applied(to: node.length)
      try check(tool, from: node.length, to: length, preallocation, parsed.has("shrink"))
      try await node.resize(to: length, mayShrink: true, preallocation: preallocation)
    } catch {
      try? await session.graph.close(node)
      throw error
    }
    try await session.graph.close(node)
    if !parsed.has("q") { tool.console.print("Image resized.") }
    return 0
  }

  private static func check(
    _ tool: Tool, from old: Int, to length: Int, _ preallocation: Preallocation,
    _ mayShrink: Bool
  ) throws(ToolFailure) {
    guard length > old || preallocation == .off else {
      throw ToolFailure(message: "Preallocation can only be used for growing images")
    }
    guard length < old, !mayShrink else { return try checkLimit(length) }
    throw ToolFailure(
      message: "Use the --shrink option to perform a shrink operation.\n"
        + "\(tool.name): warning: Shrinking an image will delete all data beyond the shrunken "
        + "image's end. Before performing such an operation, make sure there is no important "
        + "data there.")
  }

  /// Throws for what is too long for any disk.
  static func checkLimit(_ length: Int) throws(ToolFailure) {
    let limit = Int.max - Int.max % (1 << 30)
    guard length > limit else { return }
    throw ToolFailure(message: "offset(\(length)) exceeds maximum(\(limit))")
  }

  /// The size that was asked for: a number of bytes, or so many more or less.
  private struct Change {
    private let sign: Int
    private let size: Int

    init(_ text: String, _ tool: Tool) throws(ToolFailure) {
      sign = text.hasPrefix("+") ? 1 : text.hasPrefix("-") ? -1 : 0
      let bits = try tool.size(
        sign == 0 ? text : String(text.dropFirst()), parameter: "size")
      size = Int(truncatingIfNeeded: bits)
    }

    /// The new length; sums wrap around, as in qemu-img.
    func applied(to old: Int) throws(ToolFailure) -> Int {
      let length = sign == 0 ? size : old &+ sign &* size
      guard length > 0 else { throw ToolFailure(message: "New image size must be positive") }
      return length
    }
  }
}
