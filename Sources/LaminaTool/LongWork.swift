internal import BlockLayer
internal import ImageOps
internal import Lamina
internal import Primitives

/// Long work of qemu-img's verbs: its progress (`-p`, `-q`), its end by Ctrl-C, and their common
/// options `-m` and `-r`.
struct LongWork {
  let line: ProgressLine
  private let workerCount: Int?
  private let bytesPerSecond: Int

  /// Work as a call asks for it; from now on Ctrl-C ends it cleanly.
  init(_ tool: Tool, _ parsed: OptionParser.Result) throws(ToolFailure) {
    line = ProgressLine(
      tool.console, total: 0, asQemu: parsed.has("p"), isQuiet: parsed.has("q"))
    workerCount = if let text = parsed.value("m") { try Self.workers(text) } else { nil }
    bytesPerSecond = if let text = parsed.value("r") { try Self.rate(text, tool) } else { 0 }
    Interrupt.watch()
  }

  /// Looks at an option as soon as it is met.
  static func look(_ name: String, _ value: String, _ tool: Tool) throws(ToolFailure) {
    if name == "m" { _ = try workers(value) }
    if name == "r" { _ = try rate(value, tool) }
  }

  private static func workers(_ text: String) throws(ToolFailure) -> Int {
    guard let count = NumberText.integer(text, in: 1...16) else {
      throw ToolFailure(
        message: "Invalid number of coroutines. Allowed number of coroutines is between 1 and 16")
    }
    return count
  }

  private static func rate(_ text: String, _ tool: Tool) throws(ToolFailure) -> Int {
    try tool.size(text, "rate limit")
  }

  /// Workers and rate as the call says, watched by the progress line.
  var options: WorkOptions {
    let line = line
    var options = WorkOptions { done, total in
      line.update(done, of: total)
      return !Interrupt.happened
    }
    if let workerCount { options.workerCount = workerCount }
    options.bytesPerSecond = bytesPerSecond
    return options
  }

  /// Runs `body` and ends the line; what Ctrl-C ends is told so, with the exit status that shells
  /// expect.
  func run<Answer>(_ body: () async throws -> Answer) async throws -> Answer {
    do {
      let answer = try await body()
      line.finish()
      return answer
    } catch {
      line.abandon()
      guard let error = error as? BlockError, error.code == .cancelled else { throw error }
      throw Interrupt.failure
    }
  }
}

extension Tool {
  /// Says that what is below the image at `path` changes under its internal snapshots, if it has
  /// any.
  func warnOfSnapshots(in image: BlockNode, _ path: String) async throws(BlockError) {
    guard let store = image.driver as? any SnapshotStore else { return }
    let count = try await store.snapshots().count
    guard count > 0 else { return }
    console.complain(
      "\(name): warning: '\(OpenPolicy.printable(path))' has internal snapshots (\(count)), which "
        + "show what is below the image where they have nothing of their own: that changes")
  }
}

/// qemu-img's cache modes.
enum CacheMode {
  /// Whether writes need not be durable when the command ends; `option` is as messages call it.
  static func ignoresFlush(
    _ mode: String?, _ option: String = "cache option"
  ) throws(ToolFailure) -> Bool {
    switch mode ?? "unsafe" {
    case "unsafe": return true
    case "none", "off", "directsync", "writeback", "writethrough": return false
    default: throw ToolFailure(message: "Invalid \(option): \(mode ?? "")")
    }
  }
}
