internal import BlockLayer
internal import ImageOps
internal import Lamina
internal import Primitives

/// `compare`, spelled as qemu-img's.
///
/// Exit status 0: identical, 1: they differ, 2 and above: no comparison was possible.
enum CompareCommand {
  static let options = OptionParser(
    "f= F= T= s p q :object= :image-opts U:force-share")

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    let parsed: OptionParser.Result
    do {
      parsed = try options.parse(words, of: tool)
    } catch let failure as ToolFailure where !failure.hintsAtHelp {
      // An object that is wrong.
      throw ToolFailure(message: failure.message, status: 2)
    }
    guard parsed.operands.count == 2 else {
      throw ToolFailure.usage("Expecting two image file names")
    }
    let progress = ProgressLine(
      tool.console, total: 0, asQemu: parsed.has("p"), isQuiet: parsed.has("q"))
    defer { progress.abandon() }
    do {
      _ = try CacheMode.ignoresFlush(parsed.value("T"), "source cache option")
      let session = try ImageSession(tool)
      let share = parsed.has("force-share")
      let left = try await session.open(
        ImageName(parsed.operands[0], parsed), format: parsed.value("f"), forceShare: share)
      let right = try await session.open(
        ImageName(parsed.operands[1], parsed), format: parsed.value("F"), forceShare: share)
      let status = try await compare(tool, left, right, parsed, progress)
      try await session.graph.close(left)
      try await session.graph.close(right)
      return status
    } catch let failure as ToolFailure {
      throw ToolFailure(message: failure.message, status: 2)
    } catch let error as BlockError {
      throw ToolFailure(message: error.message, status: 2)
    }
  }

  private static func compare(
    _ tool: Tool, _ left: BlockNode, _ right: BlockNode, _ parsed: OptionParser.Result,
    _ progress: ProgressLine
  ) async throws(BlockError) -> Int32 {
    func say(_ text: String) { if !parsed.has("q") { tool.console.print(text) } }
    let isStrict = parsed.has("s")
    let (common, total) = (min(left.length, right.length), max(left.length, right.length))
    progress.begin()
    var done = 0
    let result = try await ImageComparison(isStrict: isStrict).compare(left, right) { now in
      done = now
      // What is behind the end of one image is not spoken of before the sizes are.
      progress.update(min(now, common), of: total)
    }
    switch result {
    case .contentMismatch(let offset):
      return differ("Content mismatch at offset \(sector(offset))!")
    case .sizeMismatch: return differ("Strict mode: Image size mismatch!")
    case .allocationMismatch(let offset):
      return differ("Strict mode: Offset \(offset) block status mismatch!")
    case .identical, .mismatchBeyondEnd: break
    }
    if common != total { say("Warning: Image size mismatch!") }
    progress.update(done, of: total)
    if case .mismatchBeyondEnd(let offset) = result {
      return differ("Content mismatch at offset \(sector(offset))!")
    }
    say("Images are identical.")
    return 0

    func differ(_ text: String) -> Int32 {
      say(text)
      return 1
    }
    /// Sectors are compared: a difference is as good as its sector's.
    func sector(_ offset: Int) -> Int { offset.roundedDown(to: 512) }
  }
}
