internal import BlockLayer
internal import Lamina
internal import SystemPackage

/// `lamina create`, spelled as `qemu-img create`.
enum CreateCommand {
  static let options = OptionParser("F= b= f= o= q u :object=")

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    let parsed = try options.parse(words, of: tool) { name, value in
      if name == "o" { try FormatOptions.check(value) }
    }
    let format = parsed.value("f") ?? "raw"
    let lists = parsed.all("o")
    if FormatOptions.askForHelp(lists) {
      try FormatOptions.explain(format, for: parsed.operands.first, tool)
      return 0
    }
    guard let path = parsed.operands.first else {
      throw ToolFailure.usage("Expecting image file name")
    }
    var size: Int?
    if parsed.operands.count > 1 { size = try tool.size(parsed.operands[1], "image size") }
    guard parsed.operands.count <= 2 else {
      throw ToolFailure.usage("Unexpected argument: \(parsed.operands[2])")
    }
    let session = try ImageSession(tool)
    do throws(ToolFailure) {
      var request = try ImageRequest(tool, path: path, format: format, lists)
      if let size {
        guard request.options.text("size") == nil else {
          throw ToolFailure(message: "The image size must be specified only once")
        }
        try request.setSize(size)
      }
      try request.setBacking(parsed.value("b"), parsed.value("F"))
      try await complete(&request, session, opensBacking: !parsed.has("u"))
      if !parsed.has("q") { tool.console.print(request.announcement) }
      try await request.perform(in: session.graph)
    } catch {
      throw error.prefixed(path)
    }
    return 0
  }

  /// Looks at the backing file, and sees to it that the image has a size.
  private static func complete(
    _ request: inout ImageRequest, _ session: ImageSession, opensBacking: Bool
  ) async throws(ToolFailure) {
    var backingLength: Int?
    if let backing = request.backing {
      guard !backing.isEmpty else {
        throw ToolFailure(message: "Expected backing file name, got empty string")
      }
      guard backing != request.path else { throw sameFile }
      var found: String?
      if opensBacking {
        let known = try await look(at: backing, of: request, session)
        (backingLength, found) = (known.length, known.format)
      }
      guard request.backingFormat != nil else {
        var failure = ToolFailure(message: "Backing file specified without backing format")
        failure.bareHint = found.map { "Detected format of \($0)." }
        throw failure
      }
    }
    guard let size = request.statedSize ?? backingLength else {
      throw ToolFailure(message: "Image creation needs a size parameter")
    }
    try request.setSize(size)
  }

  private static var sameFile: ToolFailure {
    ToolFailure(
      message: "Error: Trying to create an image with the same filename as the backing file")
  }

  /// The length and the format of a backing file, which must not be the new image, nor stand on it.
  private static func look(
    at name: String, of request: ImageRequest, _ session: ImageSession
  ) async throws(ToolFailure) -> (length: Int, format: String) {
    let folder = request.place.removingLastComponent()
    let isPath = ImageName.scheme(of: name) == nil
    let place = isPath ? folder.pushing(FilePath(name)).string : name
    if isPath, FilePath(place).isSameFile(as: request.place) { throw sameFile }
    let node: BlockNode
    do throws(BlockError) {
      let options = OpenOptions(format: request.backingFormat, readOnly: true)
      let builder = NodeBuilder(tool: session.tool, graph: session.graph, options: options)
      node = try await builder.open(ImageName(place)).node
    } catch {
      throw ToolFailure(message: "\(error.message)\nCould not open backing image.")
    }
    let known = (node.length, node.driver.driverName)
    do throws(BlockError) {
      try session.graph.checkUnused(request.place)
      if let place = request.dataFilePlace { try session.graph.checkUnused(place) }
      try await session.graph.close(node)
    } catch {
      try? await session.graph.close(node)
      throw ToolFailure(message: error.message)
    }
    return known
  }
}
