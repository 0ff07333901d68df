internal import BlockLayer
internal import Lamina
internal import Primitives
internal import Qcow2

/// `lamina amend`, spelled as `qemu-img amend`.
enum AmendCommand {
  static let options = OptionParser("f= o= t= p q :object= :image-opts :force")

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    let parsed = try options.parse(words, of: tool) { name, value in
      if name == "o" { try FormatOptions.check(value) }
    }
    let lists = parsed.all("o")
    guard !lists.isEmpty else { throw ToolFailure.usage("Must specify options (-o)") }
    let line = ProgressLine(
      tool.console, total: 0, asQemu: parsed.has("p"), isQuiet: parsed.has("q"))
    if let format = parsed.value("f"), FormatOptions.askForHelp(lists) {
      guard FormatOptions.isDriver(format) else {
        throw ToolFailure(message: "Unknown file format '\(format)'")
      }
      try explain(format, tool)
      line.abandon()
      return 0
    }
    do {
      try await amend(tool, parsed, line)
    } catch {
      line.abandon()
      throw error
    }
    return 0
  }

  private static func amend(
    _ tool: Tool, _ parsed: OptionParser.Result, _ line: ProgressLine
  ) async throws {
    guard parsed.operands.count == 1 else {
      throw ToolFailure(message: "Expecting one image file name")
    }
    _ = try CacheMode.ignoresFlush(parsed.value("t"))
    try parsed.checkFormat("f")
    let session = try ImageSession(tool)
    let node = try await session.open(
      ImageName(parsed.operands[0], parsed), format: parsed.value("f"), readOnly: false)
    do {
      if FormatOptions.askForHelp(parsed.all("o")) {
        try explain(node.driver.driverName, tool)
        line.abandon()
      } else {
        try await amend(tool, node, parsed.all("o"), line)
      }
    } catch {
      try? await session.graph.close(node)
      throw error
    }
    try await session.graph.close(node)
  }

  private static func amend(
    _ tool: Tool, _ node: BlockNode, _ lists: [String], _ line: ProgressLine
  ) async throws {
    guard node.driver is Qcow2Driver else { throw unable(node.driver.driverName) }
    let given: FormatOptions
    do {
      given = try FormatOptions(lists, known: FormatOptions.amendableQcow2, tool)
    } catch {
      throw explained(error)
    }
    line.begin()
    do {
      try await node.amend(changes(given, node, tool))
    } catch {
      line.update(1, of: 1)
      guard let error = error as? BlockError, error.message == "Cannot amend the backing file"
      else { throw error }
      throw ToolFailure(
        message: "\(error.message)\nYou can use '\(tool.name) rebase' instead.")
    }
    line.finish()
  }

  private static func explain(_ format: String, _ tool: Tool) throws(ToolFailure) {
    guard format == "qcow2" else { throw unable(format) }
    tool.console.print("Amend options for '\(format)':")
    FormatOptions.list(FormatOptions.amendableQcow2, tool)
  }

  private static func unable(_ format: String) -> ToolFailure {
    ToolFailure(message: "Format driver '\(format)' does not support option amendment")
  }

  /// Says so of an option that there is for new images alone.
  private static func explained(_ failure: ToolFailure) -> ToolFailure {
    let isForCreation = FormatOptions.qcow2.contains {
      failure.message == "Invalid parameter '\($0.key)'"
    }
    guard isForCreation else { return failure }
    return ToolFailure(
      message: failure.message + "\nThis option is only supported for image creation")
  }

  /// What the options ask for.
  private static func changes(
    _ given: FormatOptions, _ node: BlockNode, _ tool: Tool
  ) throws(ToolFailure) -> AmendOptions {
    var changes = AmendOptions()
    guard !given.keys.contains(where: { $0.hasPrefix("encrypt.") }) else {
      throw ToolFailure(message: "Can't amend encryption options - encryption not present")
    }
    if let text = given.text("compat") {
      guard let version = FormatOptions.version(text) else {
        throw ToolFailure(message: "Unknown compatibility level \(text)")
      }
      changes.version = version
    }
    if let bits = given.bits("size"), bits > 0 {
      changes.virtualSize = Int(truncatingIfNeeded: bits)
    }
    let (name, format) = (given.text("backing_file"), given.text("backing_fmt"))
    if name != nil || format != nil {
      changes.statedBacking = AmendOptions.StatedBacking(name: name, format: format)
    }
    if given.text("lazy_refcounts") != nil {
      changes.hasLazyRefcounts = given.flag("lazy_refcounts")
    }
    if let bits = given.bits("refcount_bits") { changes.refcountBits = Int(clamping: bits) }
    if let name = given.text("data_file") { changes.dataFileName = EmbeddedName(name) }
    if given.text("data_file_raw") != nil {
      changes.isDataFileRaw = given.flag("data_file_raw")
    }
    return changes
  }
}
