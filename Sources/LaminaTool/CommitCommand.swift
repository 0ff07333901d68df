internal import BlockLayer
internal import ImageOps
internal import Lamina
internal import SystemPackage

/// `lamina commit`, spelled as `qemu-img commit`.
enum CommitCommand {
  static let options = OptionParser("f= t= b= d p q r= :object= :image-opts")

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    let parsed = try options.parse(words, of: tool) { try LongWork.look($0, $1, tool) }
    guard let path = parsed.operands.first, parsed.operands.count == 1 else {
      throw ToolFailure.usage("Expecting one image file name")
    }
    // Whatever the mode: the base is durable before the overlay loses anything.
    _ = try CacheMode.ignoresFlush(parsed.value("t"))
    try parsed.checkFormat("f")
    let session = try ImageSession(tool)
    let work = try LongWork(tool, parsed)
    let chain = try await open(session, path, parsed, work)
    do {
      try await tool.warnOfSnapshots(in: chain.top, path)
      try await work.run {
        // As in qemu-img, who names the base keeps the overlay as it is.
        let empties = chain.isNext && !parsed.has("b") && !parsed.has("d")
        try await commit(chain, empties: empties, work.options, tool)
      }
    } catch {
      try? await close(chain, session)
      throw error
    }
    try await close(chain, session)
    if !parsed.has("q") { tool.console.print("Image committed.") }
    return 0
  }

  private static func commit(
    _ chain: CommitChain, empties: Bool, _ options: WorkOptions, _ tool: Tool
  ) async throws {
    do throws(BlockError) {
      try await Commit.run(chain.top, into: chain.base, empties: empties, options)
    } catch {
      // To qemu-img it is a job, of which it knows the errno.
      guard tool.persona.kind == .image, error.code != .cancelled else { throw error }
      throw ToolFailure(message: "Block job failed: \(error.errno)")
    }
  }

  private static func open(
    _ session: ImageSession, _ path: String, _ parsed: OptionParser.Result, _ work: LongWork
  ) async throws -> CommitChain {
    let wanted = parsed.value("b")
    let place = try await layers(session, ImageName(path, parsed), parsed.value("f"))
    work.line.begin()
    // As in qemu-img, the name of a layer is relative to the image.
    let file = wanted.flatMap {
      try? place.path.removingLastComponent().pushing(FilePath($0)).resolved()
    }
    let options = OpenOptions(format: place.format, discard: .unmap)
    do throws(BlockError) {
      return try await session.graph.openForCommit(place.path, options) { name, node in
        guard let wanted else { return true }
        if wanted == name || wanted == node.hostPath?.string { return true }
        // A name with a protocol is no path.
        guard ImageName.scheme(of: name) == nil else { return false }
        return file != nil && file == (try? node.hostPath?.resolved())
      }
    } catch {
      work.line.abandon()
      guard error.code == .notFound, error.node != nil else {
        throw error.prefixed("Could not open '\(OpenPolicy.printable(path))'")
      }
      // The image is there: a layer of it is not.
      guard let wanted else { throw error }
      throw ToolFailure(message: "Did not find '\(wanted)' in the backing chain of '\(path)'")
    }
  }

  /// The host file in which the image lies, and its format; throws where it cannot be opened.
  private static func layers(
    _ session: ImageSession, _ name: ImageName, _ format: String?
  ) async throws -> (path: FilePath, format: String) {
    let node = try await session.open(name, format: format, readOnly: false)
    let path = node.hostPath
    let format = node.driver.driverName
    try await session.graph.close(node)
    guard let path else {
      throw ToolFailure(
        message: "'\(OpenPolicy.printable(name.text))' is not in a file of its own")
    }
    return (path, format)
  }

  private static func close(_ chain: CommitChain, _ session: ImageSession) async throws {
    try await session.graph.close(chain.top)
    try await session.graph.close(chain.base)
  }
}
