internal import BlockLayer
internal import ImageOps
internal import Lamina
internal import SystemPackage

/// `lamina rebase`, spelled as `qemu-img rebase`.
enum RebaseCommand {
  static let options = OptionParser(
    "f= F= b= u p t= T= q :object= :image-opts U:force-share")

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    let parsed = try options.parse(words, of: tool)
    guard let path = parsed.operands.first, parsed.operands.count == 1 else {
      throw ToolFailure.usage("Expecting one image file name")
    }
    guard parsed.has("b") || parsed.has("u") else {
      throw ToolFailure.usage("Must specify backing file (-b) or use unsafe mode (-u)")
    }
    let work = try LongWork(tool, parsed)
    work.line.begin()
    return try await work.run {
      // Whatever the modes: what is copied is durable before the name changes.
      _ = try CacheMode.ignoresFlush(parsed.value("t"))
      _ = try CacheMode.ignoresFlush(parsed.value("T") ?? "writeback", "source cache option")
      try parsed.checkFormat("f")
      let session = try ImageSession(tool)
      let node = try await session.open(
        ImageName(path, parsed), format: parsed.value("f"), readOnly: false,
        backing: parsed.has("u") ? .ignore : .fromImage)
      do {
        try await rebase(session, node, path, parsed, work)
      } catch {
        try? await session.graph.close(node)
        throw error
      }
      try await session.graph.close(node)
      return 0
    }
  }

  private static func rebase(
    _ session: ImageSession, _ node: BlockNode, _ path: String, _ parsed: OptionParser.Result,
    _ work: LongWork
  ) async throws {
    let format = parsed.value("F")
    if let format, !FormatOptions.isDriver(format) {
      throw ToolFailure(message: "Invalid format name: '\(format)'")
    }
    let name = parsed.value("b") ?? ""
    let backing = name.isEmpty ? nil : RecordedBacking(name: name, format: format)
    func checkAble() throws(ToolFailure) {
      guard node.driver is any BackingFileImage else {
        throw ToolFailure(
          message: "Could not change the backing file to '\(name)': Operation not supported")
      }
    }
    if parsed.has("u") {
      try checkAble()
      return try await Rebase.unsafely(node, onto: backing)
    }
    let new: BlockNode?
    do throws(BlockError) {
      new = try await open(backing, below: node, session, parsed)
    } catch {
      if error.code == .inUse { try checkAble() }
      throw error
    }
    do {
      try checkAble()
      try await session.tool.warnOfSnapshots(in: node, path)
      try await Rebase.safely(node, onto: backing, showing: new, work.options)
    } catch {
      if let new { try? await session.graph.close(new) }
      throw error
    }
    if let new { try await session.graph.close(new) }
  }

  /// The new backing file; its name is relative to the image that will have it.
  private static func open(
    _ backing: RecordedBacking?, below node: BlockNode, _ session: ImageSession,
    _ parsed: OptionParser.Result
  ) async throws(BlockError) -> BlockNode? {
    guard let backing else { return nil }
    let folder = node.hostPath?.removingLastComponent() ?? FilePath()
    let isPath = ImageName.scheme(of: backing.name) == nil
    let place = isPath ? folder.pushing(FilePath(backing.name)).string : backing.name
    var options = OpenOptions(format: backing.format, readOnly: true)
    if parsed.has("force-share") { options.locking = .forceShare }
    do throws(BlockError) {
      let builder = NodeBuilder(tool: session.tool, graph: session.graph, options: options)
      return try await builder.open(ImageName(place)).node
    } catch {
      throw error.prefixed(
        "Could not open new backing file '\(OpenPolicy.printable(backing.name))'")
    }
  }
}
