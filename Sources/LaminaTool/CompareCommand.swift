internal import BlockLayer
internal import ImageOps
internal import Lamina

/// `lamina compare`, spelled as `qemu-img compare`.
///
/// Exit status 0: identical, 1: they differ, 2 and above: no comparison was possible.
enum CompareCommand {
  static let options = OptionParser(
    "f= F= T= s p q :object= :image-opts U:force-share")

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    let parsed = try options.parse(words, of: tool)
    guard parsed.operands.count == 2 else {
      throw ToolFailure.usage("Expecting two image file names")
    }
    let session = try ImageSession(tool)
    do throws(BlockError) {
      let share = parsed.has("force-share")
      let left = try await session.open(
        parsed.operands[0], format: parsed.value("f"), forceShare: share)
      let right = try await session.open(
        parsed.operands[1], format: parsed.value("F"), forceShare: share)
      let status = try await compare(tool, left, right, parsed)
      try await session.graph.close(left)
      try await session.graph.close(right)
      return status
    } catch {
      throw ToolFailure(message: error.message, status: 2)
    }
  }

  private static func compare(
    _ tool: Tool, _ left: BlockNode, _ right: BlockNode, _ parsed: OptionParser.Result
  ) async throws(BlockError) -> Int32 {
    let isQuiet = parsed.has("q")
    func say(_ text: String) { if !isQuiet { tool.console.print(text) } }
    let isStrict = parsed.has("s")
    if left.length != right.length, !isStrict { say("Warning: Image size mismatch!") }
    let progress = ProgressLine(
      tool.console, total: max(left.length, right.length), asQemu: parsed.has("p"),
      isQuiet: isQuiet)
    let result = try await ImageComparison(isStrict: isStrict).compare(left, right) {
      progress.update($0)
    }
    progress.finish()
    switch result {
    case .identical:
      say("Images are identical.")
      return 0
    case .sizeMismatch: say("Strict mode: Image size mismatch!")
    case .contentMismatch(let offset), .mismatchBeyondEnd(let offset):
      say("Content mismatch at offset \(offset)!")
    case .allocationMismatch(let offset):
      say("Strict mode: Offset \(offset) block status mismatch!")
    }
    return 1
  }
}
