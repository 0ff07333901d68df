internal import BlockLayer
internal import ImageOps
internal import Lamina
internal import Primitives

/// `lamina dd`, spelled as `qemu-img dd`.
enum DdCommand {
  static let options = OptionParser("f= O= :object= :image-opts U:force-share")

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    let parsed = try options.parse(words, of: tool)
    var call = Call()
    for word in parsed.operands { try call.take(word, tool) }
    guard let input = call.input, let output = call.output else {
      throw ToolFailure(message: "Must specify both input and output files")
    }
    try parsed.checkFormat("f")
    let session = try ImageSession(tool)
    let source = try await session.open(
      ImageName(input, parsed), format: parsed.value("f"), forceShare: parsed.has("force-share"))
    let format = parsed.value("O") ?? "raw"
    var request: ImageRequest
    do throws(ToolFailure) {
      request = try ImageRequest(tool, path: output, format: format)
    } catch {
      // This command alone does not name the format.
      guard error.message.hasPrefix("Unknown file format") else { throw error }
      throw ToolFailure(message: "Unknown file format")
    }
    let range = call.range(of: source.length)
    try request.setSize(range?.count ?? 0)
    let window = try await window(of: source, from: range?.lower ?? 0, session)
    try await create(request, session)
    if range == nil {
      tool.console.complain(
        "\(tool.name): \(OpenPolicy.printable(input)): cannot skip to specified offset")
    }
    try await copy(window, to: request, range?.count ?? 0, session)
    try await session.graph.close(window)
    return 0
  }

  /// A node that shows the source from `offset` on.
  private static func window(
    of source: BlockNode, from offset: Int, _ session: ImageSession
  ) async throws(BlockError) -> BlockNode {
    guard offset > 0 else { return source }
    do throws(BlockError) {
      return try session.graph.addNode(
        try RawDriver(file: source, offset: offset),
        options: NodeOptions(isReadOnly: true, discard: .ignore, detectZeroes: .off))
    } catch {
      try? await session.graph.close(source)
      throw error
    }
  }

  private static func create(
    _ request: ImageRequest, _ session: ImageSession
  ) async throws(ToolFailure) {
    do throws(ToolFailure) {
      try await request.performBesideSources(in: session.graph)
    } catch {
      throw error.prefixed("\(request.path): error while creating output image")
    }
  }

  private static func copy(
    _ source: BlockNode, to request: ImageRequest, _ length: Int, _ session: ImageSession
  ) async throws {
    Interrupt.watch()
    var conversion = ImageConversion(WorkOptions { _, _ in !Interrupt.happened })
    conversion.length = length
    do throws(BlockError) {
      _ = try await session.graph.fillNewImage(
        at: request.place, OpenOptions(format: request.format, discard: .unmap)
      ) { target throws(BlockError) in
        try await conversion.run(from: [source], to: target)
      }
    } catch {
      guard error.code != .cancelled else { throw Interrupt.failure }
      if error.message.hasPrefix("error while reading") {
        throw ToolFailure(message: "error while reading from input image file: \(error.errno)")
      }
      if error.message.hasPrefix("error while writing") {
        throw ToolFailure(message: "error while writing to output image file: \(error.errno)")
      }
      throw error
    }
  }

  /// The operands, `if=… of=… bs=… count=… skip=…`.
  private struct Call {
    private(set) var input: String?
    private(set) var output: String?
    private var blockSize = 512
    private var count: Int?
    private var skipped = 0

    mutating func take(_ word: String, _ tool: Tool) throws(ToolFailure) {
      let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let name = String(parts[0])
      guard parts.count > 1, ["if", "of", "bs", "count", "skip"].contains(name) else {
        throw ToolFailure(message: "unrecognized operand \(name)")
      }
      let value = String(parts[1])
      switch name {
      case "if": input = value
      case "of": output = value
      case "bs": blockSize = try tool.size(value, "bs", in: 1...Int(Int32.max))
      case "count": count = try tool.size(value, "count")
      default: skipped = try tool.size(value, "skip")
      }
    }

    /// The bytes of a disk of `length` bytes that are copied; nil where there is nothing so far
    /// behind.
    ///
    /// `count` counts from the disk's beginning.
    func range(of length: Int) -> ByteRange? {
      let end = min(length, bytes(count ?? .max))
      let start = bytes(skipped)
      return start <= end ? ByteRange(start, end) : nil
    }

    private func bytes(_ blocks: Int) -> Int {
      let (product, overflow) = blocks.multipliedReportingOverflow(by: blockSize)
      return overflow ? .max : product
    }
  }
}
