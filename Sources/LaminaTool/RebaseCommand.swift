internal import BlockLayer
internal import ImageOps
internal import Lamina
internal import SystemPackage

/// `lamina rebase`, spelled as `qemu-img rebase`.
enum RebaseCommand {
  static let options = OptionParser(
    "f:format= b:backing= F:backing-format= u q:quiet p:progress U:force-share t:cache= "
      + "T:source-cache=")

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    let parsed = try options.parse(words)
    if parsed.has("help") {
      tool.console.print(
        "lamina rebase [-q] [-p] [-u] [-f FMT] -b BACKING -F FMT FILE   (-b \"\" for none)")
      return 0
    }
    guard let path = parsed.operands.first, parsed.operands.count == 1 else {
      throw ToolFailure.usage("Expecting one image file name")
    }
    guard let name = parsed.value("backing") else {
      throw ToolFailure.usage(
        parsed.has("u")
          ? "Use backing file (-b) option"
          : "Must specify backing file (-b) or use unsafe mode (-u)")
    }
    // Whatever the modes: what is copied is durable before the name changes.
    _ = try CacheMode.ignoresFlush(parsed.value("cache"))
    _ = try CacheMode.ignoresFlush(
      parsed.value("source-cache") ?? "writeback", "source cache option")
    let backing =
      name.isEmpty
      ? nil : RecordedBacking(name: name, format: parsed.value("backing-format"))
    let session = try ImageSession(tool)
    let node = try await session.open(
      path, format: parsed.value("format"), readOnly: false,
      backing: parsed.has("u") ? .ignore : .fromImage)
    do {
      if parsed.has("u") {
        try await Rebase.unsafely(node, onto: backing)
      } else {
        try await rebase(session, node, path, backing, parsed)
      }
    } catch {
      try? await session.graph.close(node)
      throw error
    }
    try await session.graph.close(node)
    return 0
  }

  private static func rebase(
    _ session: ImageSession, _ node: BlockNode, _ path: String, _ backing: RecordedBacking?,
    _ parsed: OptionParser.Result
  ) async throws {
    var new: BlockNode?
    if let backing {
      do throws(BlockError) {
        // The name is relative to the image that will have it.
        let folder = FilePath(path).removingLastComponent()
        new = try await session.open(
          folder.pushing(FilePath(backing.name)).string, format: backing.format,
          forceShare: parsed.has("force-share"))
      } catch {
        throw error.prefixed(
          "Could not open new backing file '\(OpenPolicy.printable(backing.name))'")
      }
    }
    do {
      try await session.tool.warnOfSnapshots(in: node, path)
      let work = LongWork(session.tool, total: node.length, parsed)
      let options = try work.options(parsed)
      try await work.run { () throws(BlockError) in
        try await Rebase.safely(node, onto: backing, showing: new, options)
      }
    } catch {
      if let new { try? await session.graph.close(new) }
      throw error
    }
    if let new { try await session.graph.close(new) }
  }
}
