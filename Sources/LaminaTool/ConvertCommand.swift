internal import BlockLayer
internal import ImageOps
internal import Lamina
internal import SystemPackage

/// `lamina convert`, spelled as `qemu-img convert`.
struct ConvertCommand {
  private let session: ImageSession
  private let call: ConvertCall
  private let work: LongWork
  private let ignoresFlush: Bool

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    let call = try ConvertCall(tool, words)
    let parsed = call.parsed
    if FormatOptions.askForHelp(parsed.all("o")) {
      try FormatOptions.explain(
        call.format, for: parsed.operands.count > 1 ? call.output : nil, tool)
      return 0
    }
    guard parsed.operands.count > 1 else {
      throw ToolFailure(message: "Must specify image file name")
    }
    _ = try CacheMode.ignoresFlush(parsed.value("T") ?? "writeback", "source cache option")
    let work = try LongWork(tool, parsed)
    work.line.begin()
    let unreadable = try await work.run {
      let command = ConvertCommand(
        session: try ImageSession(tool), call: call, work: work,
        ignoresFlush: (try? CacheMode.ignoresFlush(parsed.value("t"))) ?? true)
      do {
        return try await command.convert()
      } catch let error as BlockError {
        throw tool.persona.kind == .image ? error.terse : error
      }
    }
    if !parsed.has("q") { report(unreadable, tool) }
    return 0
  }

  private func convert() async throws -> UnreadableBytes {
    var sources: [BlockNode] = []
    for path in call.sources { sources.append(try await open(path)) }
    if let wish = call.snapshot {
      guard sources.count == 1 else {
        throw ToolFailure(message: "No support for concatenating multiple snapshot")
      }
      let reference = try await wish.find(in: sources[0])
      try await session.graph.close(sources[0])
      sources[0] = try await open(call.sources[0], reference)
    }
    let unreadable = try await convert(sources)
    for source in sources { try await session.graph.close(source) }
    return unreadable
  }

  private func open(
    _ path: String, _ snapshot: SnapshotReference? = nil
  ) async throws -> BlockNode {
    try call.parsed.checkFormat("f")
    return try await session.open(
      ImageName(path, call.parsed), format: call.parsed.value("f"),
      forceShare: call.parsed.has("force-share"), snapshot: snapshot)
  }

  private func convert(_ sources: [BlockNode]) async throws -> UnreadableBytes {
    let length = sources.reduce(0) { $0 + $1.length }
    let request = call.skipsCreation ? nil : try call.request(session.tool, size: length)
    let bitmaps = try call.copiesBitmaps ? bitmaps(of: sources) : nil
    // Refused before anything is made.
    _ = try CacheMode.ignoresFlush(call.parsed.value("t"))
    if let request {
      return try await create(request, sources, bitmaps)
    }
    let isList = call.parsed.has("target-image-opts")
    guard !isList || !call.parsed.has("O") else {
      throw ToolFailure(message: "--image-opts and --format are mutually exclusive")
    }
    let target = try await session.open(
      ImageName(call.output, isOptionList: isList), format: isList ? nil : call.format,
      readOnly: false, ignoresFlush: ignoresFlush)
    do {
      let unreadable = try await fill(target, sources, bitmaps, call.parsed.has("B"))
      try await session.graph.close(target)
      return unreadable
    } catch {
      // Closing stores its bitmaps, and what was written; the first failure is the one to tell.
      try? await session.graph.close(target)
      throw error
    }
  }

  private func create(
    _ request: ImageRequest, _ sources: [BlockNode], _ bitmaps: BitmapCopy?
  ) async throws -> UnreadableBytes {
    do throws(ToolFailure) {
      try await request.performBesideSources(in: session.graph)
    } catch {
      throw error.prefixed("\(request.path): error while converting \(request.format)")
    }
    let dataFile = request.dataFilePlace.flatMap { FileIdentity(of: $0) }
    var opening = OpenOptions(format: request.format, discard: .unmap)
    opening.node.ignoresFlush = ignoresFlush
    do throws(BlockError) {
      return try await session.graph.fillNewImage(at: request.place, opening) {
        target throws(BlockError) in
        try await fill(target, sources, bitmaps, request.backing != nil)
      }
    } catch {
      request.removeDataFile(dataFile)
      throw error.isOpeningFailure
        ? error.prefixed("Could not open '\(OpenPolicy.printable(request.path))'") : error
    }
  }

  private func fill(
    _ target: BlockNode, _ sources: [BlockNode], _ bitmaps: BitmapCopy?, _ hasBacking: Bool
  ) async throws(BlockError) -> UnreadableBytes {
    let conversion = call.conversion(sources, target, work.options, hasBacking: hasBacking)
    if call.parsed.has("target-is-zero"), hasBacking {
      throw BlockError(
        .invalidArgument,
        "Cannot use --target-is-zero when the destination image has a backing file")
    }
    try bitmaps?.check(target)
    let unreadable = try await conversion.run(from: sources, to: target)
    try bitmaps?.perform(to: target)
    return unreadable
  }

  /// The bitmaps of the one source.
  private func bitmaps(of sources: [BlockNode]) throws -> BitmapCopy {
    guard sources.count == 1 else {
      throw ToolFailure(message: "Copying bitmaps only possible with single source")
    }
    let tool = session.tool
    let skips = call.parsed.has("skip-broken-bitmaps")
    do throws(BlockError) {
      let copy = try BitmapCopy(of: sources[0], skipsInconsistent: skips)
      for name in copy.skipped {
        tool.console.complain(
          "\(tool.name): warning: Skipping inconsistent bitmap '\(OpenPolicy.printable(name))'")
      }
      return copy
    } catch {
      guard error.code == .bitmap else { throw error }
      throw ToolFailure(
        message: "\(error.message)\nTry --skip-broken-bitmaps, or use "
          + "'\(tool.name) bitmap --remove' to delete it")
    }
  }

  /// Says which sectors could not be read, as many as is bearable.
  private static func report(_ unreadable: UnreadableBytes, _ tool: Tool) {
    let error = unreadable.firstError?.errno.description ?? "Input/output error"
    var lines = 0
    var told = 0
    for range in unreadable.ranges {
      for offset in stride(from: range.lower, to: range.upper, by: 512) where lines < 4096 {
        lines += 1
        told += min(512, range.upper - offset)
        tool.console.complain(
          "\(tool.name): warning: error while reading offset \(offset): \(error)")
      }
    }
    guard told < unreadable.byteCount else { return }
    tool.console.complain(
      "\(tool.name): warning: \(unreadable.byteCount - told) more bytes could not be read")
  }
}

extension BlockError {
  /// The same error as qemu-img tells it where copying failed: what was done, where, and the errno.
  var terse: BlockError {
    for what in ["reading at byte", "writing at byte", "reading block status at offset"] {
      let start = "error while \(what) "
      guard message.hasPrefix(start) else { continue }
      let place = message.dropFirst(start.count).prefix { $0 != ":" }
      return BlockError(code, "\(start)\(place): \(errno)", errno: errno)
    }
    return self
  }

  /// Whether it tells of a layer that could not be opened.
  fileprivate var isOpeningFailure: Bool { message.hasPrefix("Could not open ") }
}
