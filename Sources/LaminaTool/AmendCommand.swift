internal import BlockLayer
internal import Lamina
internal import Primitives
internal import Qcow2

/// `lamina amend`, spelled as `qemu-img amend`.
enum AmendCommand {
  static let options = OptionParser("f:format= o:options= t:cache= p:progress q:quiet :force")

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    let parsed = try options.parse(words)
    if parsed.has("help") {
      tool.console.print("lamina amend [-p] [-q] [-f FMT] -o KEY=VALUE,… FILE")
      return 0
    }
    guard parsed.has("options") else { throw ToolFailure.usage("Must specify options (-o)") }
    var given = FormatOptions()
    for list in parsed.all("options") { given.take(list) }
    if given.asksForHelp, parsed.value("format") == "qcow2" || !parsed.operands.isEmpty {
      tool.console.print("Amend options for 'qcow2':")
      for option in FormatOptions.qcow2 where option.isAmendable { tool.console.print(option.line) }
      return 0
    }
    guard parsed.operands.count == 1 else {
      throw ToolFailure(message: "Expecting one image file name")
    }
    let session = try ImageSession(tool)
    let node = try await session.open(
      parsed.operands[0], format: parsed.value("format"), readOnly: false)
    let line = ProgressLine(tool.console, total: 1, asQemu: true, isQuiet: !parsed.has("progress"))
    do {
      guard node.driver is Qcow2Driver else {
        throw ToolFailure(
          message:
            "Format driver '\(node.driver.driverName)' does not support option amendment")
      }
      let changes = try changes(given, node)
      line.update(0)
      try await node.amend(changes)
    } catch {
      try? await session.graph.close(node)
      throw error
    }
    try await session.graph.close(node)
    line.finish()
    return 0
  }

  /// What the pairs of `-o` ask for.
  private static func changes(
    _ given: FormatOptions, _ node: BlockNode
  ) throws(ToolFailure) -> AmendOptions {
    var changes = AmendOptions()
    for (key, value) in given.pairs {
      switch key {
      case "compat":
        guard let version = FormatOptions.version(value) else {
          throw ToolFailure(message: "Unknown compatibility level \(value)")
        }
        changes.version = version
      case "refcount_bits": changes.refcountBits = try FormatOptions.size(value, key)
      case "lazy_refcounts": changes.hasLazyRefcounts = try FormatOptions.flag(value, key)
      case "data_file": changes.dataFileName = EmbeddedName(value)
      case "data_file_raw": changes.isDataFileRaw = try FormatOptions.flag(value, key)
      case "size": changes.virtualSize = try FormatOptions.size(value, key)
      case "backing_file", "backing_fmt":
        let backing = (node.driver as? any BackingFileImage)?.recordedBacking
        guard value == (key == "backing_file" ? backing?.name : backing?.format) ?? "" else {
          throw ToolFailure(
            message: "Cannot amend the backing file\nYou can use 'lamina rebase' instead.")
        }
      case _ where isForCreation(key):
        throw ToolFailure(
          message: "Invalid parameter '\(key)'\n"
            + "This option is only supported for image creation")
      default: throw ToolFailure(message: "Invalid parameter '\(key)'")
      }
    }
    return changes
  }

  private static func isForCreation(_ key: String) -> Bool {
    key.hasPrefix("encrypt") || FormatOptions.qcow2.contains { $0.key == key && !$0.isAmendable }
  }
}
