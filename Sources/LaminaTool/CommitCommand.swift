internal import BlockLayer
internal import ImageOps
internal import Lamina
internal import SystemPackage

/// `lamina commit`, spelled as `qemu-img commit`.
enum CommitCommand {
  static let options = OptionParser(
    "f:format= b:base= d p:progress q:quiet t:cache= r:rate-limit=")

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    let parsed = try options.parse(words)
    if parsed.has("help") {
      tool.console.print("lamina commit [-q] [-f FMT] [-b BASE] [-d] [-p] [-r RATE] FILE")
      return 0
    }
    guard let path = parsed.operands.first, parsed.operands.count == 1 else {
      throw ToolFailure.usage("Expecting one image file name")
    }
    // Whatever the mode: the base is durable before the overlay loses anything.
    _ = try CacheMode.ignoresFlush(parsed.value("cache"))
    let session = try ImageSession(tool)
    let chain = try await open(session, path, parsed)
    do {
      try await tool.warnOfSnapshots(in: chain.top, path)
      let work = LongWork(tool, total: chain.top.length, parsed)
      let options = try work.options(parsed)
      try await work.run { () throws(BlockError) in
        // As in qemu-img, who names the base keeps the overlay as it is.
        let empties = chain.isNext && parsed.value("base") == nil && !parsed.has("d")
        try await Commit.run(chain.top, into: chain.base, empties: empties, options)
      }
    } catch {
      try? await close(chain, session)
      throw error
    }
    try await close(chain, session)
    if !parsed.has("quiet") { tool.console.print("Image committed.") }
    return 0
  }

  private static func open(
    _ session: ImageSession, _ path: String, _ parsed: OptionParser.Result
  ) async throws -> CommitChain {
    let wanted = parsed.value("base")
    let file = wanted.flatMap { try? FilePath($0).resolved() }
    let options = OpenOptions(format: parsed.value("format"), discard: .unmap)
    do throws(BlockError) {
      return try await session.graph.openForCommit(FilePath(path), options) { name, node in
        guard let wanted else { return true }
        if wanted == name || wanted == node.hostPath?.string { return true }
        return file != nil && file == (try? node.hostPath?.resolved())
      }
    } catch {
      guard error.code == .notFound, error.node != nil else {
        throw error.prefixed("Could not open '\(OpenPolicy.printable(path))'")
      }
      // The image is there: a layer of it is not.
      guard let wanted else { throw error }
      throw ToolFailure(message: "Did not find '\(wanted)' in the backing chain of '\(path)'")
    }
  }

  private static func close(_ chain: CommitChain, _ session: ImageSession) async throws {
    try await session.graph.close(chain.top)
    try await session.graph.close(chain.base)
  }
}
