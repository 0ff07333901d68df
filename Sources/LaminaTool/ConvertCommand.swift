internal import BlockLayer
internal import ImageOps
internal import Lamina
internal import Primitives
internal import SystemPackage

/// `lamina convert`, spelled as `qemu-img convert`.
enum ConvertCommand {
  static let options = OptionParser(
    "f:format= O:output-format= B:backing= F:backing-format= o:options= l= S:sparse-size= m= W n c "
      + "C p:progress q:quiet U:force-share t:cache= T:source-cache= r:rate-limit= "
      + ":target-is-zero :salvage")

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    let parsed = try options.parse(words)
    if parsed.has("help") {
      tool.console.print(
        "lamina convert [-f FMT] [-O FMT] [-o KEY=VALUE,…] [-B BACKING -F FMT] [-l SNAPSHOT] [-c] "
          + "[-S SIZE]\n    [-m N] [-W] [-n [--target-is-zero]] [--salvage] [-t CACHE] [-r RATE] "
          + "[-U] [-p] [-q]\n    FILE… OUTPUT")
      return 0
    }
    let call = try ConvertCall(parsed)
    let session = try ImageSession(tool)
    var sources: [BlockNode] = []
    for path in call.sources {
      sources.append(
        try await session.open(
          path, format: parsed.value("format"), forceShare: parsed.has("force-share"),
          snapshot: call.snapshot))
    }
    let unreadable = try await convert(session, sources, call)
    for source in sources { try await session.graph.close(source) }
    for range in unreadable.ranges {
      tool.console.complain(
        "\(tool.name): warning: error while reading at byte \(range.lower): \(range.count) bytes "
          + "are zeros in the copy")
    }
    return 0
  }

  private static func convert(
    _ session: ImageSession, _ sources: [BlockNode], _ call: ConvertCall
  ) async throws -> UnreadableBytes {
    let length = sources.reduce(0) { $0 + $1.length }
    if call.isCompressed, call.format == "raw" {
      throw ToolFailure(message: "Compression not supported for this file format")
    }
    let work = LongWork(session.tool, total: length, call.parsed)
    let options = try work.options(call.parsed)
    guard !call.skipsCreation else {
      let target = try await session.open(
        call.output, format: call.format, readOnly: false, ignoresFlush: call.ignoresFlush)
      let unreadable: UnreadableBytes
      do {
        unreadable = try await work.run { () throws(BlockError) in
          try await call.conversion(sources, target, options).run(from: sources, to: target)
        }
      } catch {
        // Closing stores its bitmaps, and what was written; the first failure is the one to tell.
        try? await session.graph.close(target)
        throw error
      }
      try await session.graph.close(target)
      return unreadable
    }
    try await create(session, length, call)
    var opening = OpenOptions(format: call.format, discard: .unmap)
    opening.node.ignoresFlush = call.ignoresFlush
    return try await work.run { () throws(BlockError) in
      try await session.graph.fillNewImage(at: FilePath(call.output), opening) {
        target throws(BlockError) in
        try await call.conversion(sources, target, options).run(from: sources, to: target)
      }
    }
  }

  private static func create(
    _ session: ImageSession, _ length: Int, _ call: ConvertCall
  ) async throws {
    let path = FilePath(call.output)
    // A source of the call would be emptied.
    try session.graph.checkUnused(path)
    var request = call.request
    request.size = length
    try await request.perform(session, opensBacking: true, isQuiet: true)
  }
}

/// What `convert` was asked for.
struct ConvertCall {
  let parsed: OptionParser.Result
  let sources: [String]
  let output: String
  let format: String
  let sparseSize: Int
  let ignoresFlush: Bool
  private(set) var request: ImageRequest

  var isCompressed: Bool { parsed.has("c") }
  var skipsCreation: Bool { parsed.has("n") }

  /// The snapshot of the source that is to be copied: an id or a name, or which of both is said.
  var snapshot: SnapshotReference? {
    guard let text = parsed.value("l") else { return nil }
    for pair in text.split(separator: ",") {
      if pair.hasPrefix("snapshot.id=") { return .id(String(pair.dropFirst(12))) }
      if pair.hasPrefix("snapshot.name=") { return .name(String(pair.dropFirst(14))) }
    }
    return .idOrName(text)
  }

  init(_ parsed: OptionParser.Result) throws(ToolFailure) {
    self.parsed = parsed
    format = parsed.value("output-format") ?? "raw"
    sparseSize = try Self.sparseSize(parsed.value("sparse-size"))
    ignoresFlush = try CacheMode.ignoresFlush(parsed.value("cache"))
    _ = try CacheMode.ignoresFlush(
      parsed.value("source-cache") ?? "writeback", "source cache option")
    if parsed.has("target-is-zero"), !parsed.has("n") {
      throw ToolFailure(message: "--target-is-zero requires use of -n flag")
    }
    guard let output = parsed.operands.last, parsed.operands.count > 1 else {
      throw ToolFailure(message: "Must specify image file name")
    }
    self.output = output
    sources = Array(parsed.operands.dropLast())
    if parsed.has("l"), sources.count > 1 {
      throw ToolFailure(message: "No support for concatenating multiple snapshot")
    }
    if parsed.has("n"), parsed.has("options") {
      throw ToolFailure(message: "-o has no effect when skipping image creation")
    }
    guard ["qcow2", "raw"].contains(format) else {
      throw ToolFailure(message: "Unknown file format '\(format)'")
    }
    request = ImageRequest(path: output, format: format)
    try request.take(parsed.all("options"))
    try takeBacking()
  }

  private mutating func takeBacking() throws(ToolFailure) {
    if let name = parsed.value("backing") { request.backing = name }
    if let format = parsed.value("backing-format") { request.backingFormat = format }
    guard request.backing != nil else { return }
    guard sources.count == 1 else {
      throw ToolFailure(
        message: "Having a backing file for the target makes no sense when concatenating multiple "
          + "input images")
    }
    if format == "raw" {
      throw ToolFailure(message: "Backing file not supported for file format 'raw'")
    }
    if request.backingFormat == nil {
      throw ToolFailure(message: "Use of backing file requires explicit backing format")
    }
  }

  private static func sparseSize(_ text: String?) throws(ToolFailure) -> Int {
    guard let text else { return 4096 }
    guard let size = ByteSize.parse(text), size.isAligned(to: 512), size <= 16 << 20 else {
      throw ToolFailure(
        message: "Invalid buffer size for sparse output specified. Valid sizes are multiples of "
          + "512 up to 16777216. Select 0 to disable sparse detection (fully allocates output).")
    }
    // Blocks are counted by powers of two: the next smaller one leaves out no less.
    return size == 0 ? 0 : 1 << (Int.bitWidth - 1 - size.leadingZeroBitCount)
  }

  /// The conversion that was asked for.
  func conversion(
    _ sources: [BlockNode], _ target: BlockNode, _ options: WorkOptions
  ) -> ImageConversion {
    var conversion = ImageConversion(options)
    conversion.sparseSize = sparseSize
    conversion.isCompressed = isCompressed
    conversion.keepsOrder = !parsed.has("W")
    conversion.salvages = parsed.has("salvage")
    conversion.targetIsZero = parsed.has("target-is-zero")
    // Only who says so knows that a given target's backing file has what the source shows.
    if request.backing != nil, let backing = target.dataNode.backing {
      let shared = sources.first?.layer(showing: backing)
      conversion.backing = shared.map { .layer($0) } ?? .contents(backing)
    }
    return conversion
  }
}

extension BlockNode {
  /// The layer of this node's chain, below its first, that shows the same file as `other`, in the
  /// same format.
  fileprivate func layer(showing other: BlockNode) -> BlockNode? {
    var layer = dataNode.backing?.dataNode
    while let present = layer {
      let isSame =
        present.hostIdentity != nil && present.hostIdentity == other.hostIdentity
        && present.driver.driverName == other.dataNode.driver.driverName
      if isSame { return present }
      layer = present.backing?.dataNode
    }
    return nil
  }
}
