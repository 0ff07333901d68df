internal import BlockLayer
internal import ImageOps
internal import Lamina

/// `lamina rebase -u`, spelled as `qemu-img rebase -u`.
enum RebaseCommand {
  static let options = OptionParser("f:format= b:backing= F:backing-format= u q:quiet p:progress")

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    let parsed = try options.parse(words)
    if parsed.has("help") {
      tool.console.print("lamina rebase -u [-f FMT] -b BACKING -F FMT FILE   (-b \"\" for none)")
      return 0
    }
    guard parsed.operands.count == 1 else {
      throw ToolFailure.usage("Expecting one image file name")
    }
    guard let name = parsed.value("backing") else {
      throw ToolFailure.usage("Use backing file (-b) option")
    }
    guard parsed.has("u") else {
      throw ToolFailure(
        message: "Not supported yet: safe rebase, which compares contents; use -u when the new "
          + "backing file shows what the old one did")
    }
    let session = try ImageSession(tool)
    let node = try await session.open(
      parsed.operands[0], format: parsed.value("format"), readOnly: false, backing: .ignore)
    let backing =
      name.isEmpty
      ? nil : RecordedBacking(name: name, format: parsed.value("backing-format"))
    do throws(BlockError) {
      try await Rebase.unsafely(node, onto: backing)
    } catch {
      try? await session.graph.close(node)
      throw error
    }
    try await session.graph.close(node)
    return 0
  }
}
