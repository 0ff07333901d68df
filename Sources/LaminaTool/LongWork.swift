internal import BlockLayer
internal import ImageOps
internal import Lamina
internal import Primitives

/// Long work of qemu-img's verbs: its progress, its end by Ctrl-C, and their common options.
struct LongWork {
  let tool: Tool
  let line: ProgressLine

  /// Work on `total` bytes; from now on Ctrl-C ends it cleanly.
  init(_ tool: Tool, total: Int, _ parsed: OptionParser.Result) {
    self.tool = tool
    line = ProgressLine(
      tool.console, total: total, asQemu: parsed.has("progress"), isQuiet: parsed.has("quiet"))
    Interrupt.watch()
  }

  /// Workers and rate as the call says, watched by the progress line.
  func options(_ parsed: OptionParser.Result) throws(ToolFailure) -> WorkOptions {
    let line = line
    var options = WorkOptions { done, _ in
      line.update(done)
      return !Interrupt.happened
    }
    if let text = parsed.value("m") {
      guard let count = Int(text), (1...16).contains(count) else {
        throw ToolFailure(
          message: "Invalid number of coroutines. Allowed number of coroutines is between 1 and 16")
      }
      options.workerCount = count
    }
    if let text = parsed.value("rate-limit") {
      guard let rate = ByteSize.parse(text) else {
        throw ToolFailure(
          message: "Invalid rate limit specified. You may use k, M, G, T, P or E suffixes for \n"
            + "\(tool.name): kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.")
      }
      options.bytesPerSecond = rate
    }
    return options
  }

  /// Runs `body`; what Ctrl-C ends is told so, with the exit status that shells expect.
  func run<Answer>(
    _ body: () async throws(BlockError) -> Answer
  ) async throws -> Answer {
    do throws(BlockError) {
      let answer = try await body()
      line.finish()
      return answer
    } catch {
      line.abandon()
      guard error.code == .cancelled else { throw error }
      throw ToolFailure(message: "interrupted", status: 130)
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
