internal import BlockLayer
internal import Lamina

/// `lamina io`, spelled as `qemu-io`: small commands that read and write an image.
enum IOCommand {
  static let options = OptionParser(
    "f:format= r:read-only U:force-share c:cmd= n:nocache d:discard= V")

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    let parsed = try options.parse(words)
    if parsed.has("help") {
      tool.console.print("lamina io [-f FMT] [-r] [-U] [-c COMMAND]… FILE")
      tool.console.print(IOInterpreter.help)
      return 0
    }
    guard parsed.operands.count == 1 else {
      throw ToolFailure.usage("Expecting one image file name")
    }
    let session = try ImageSession(tool)
    let isReadOnly = parsed.has("read-only")
    let node: BlockNode
    do throws(BlockError) {
      node = try await session.open(
        parsed.operands[0], format: parsed.value("format"), readOnly: isReadOnly,
        forceShare: parsed.has("force-share"))
    } catch {
      // qemu-io says it with small letters.
      throw ToolFailure(message: "can't open device \(parsed.operands[0]): \(error.message)")
    }
    let disk = try BlockBackend(node, in: session.graph)
    var interpreter = IOInterpreter(console: tool.console, disk: disk)
    let commands = parsed.all("cmd")
    if commands.isEmpty {
      while !interpreter.hasQuit, let line = tool.console.readLine() {
        await interpreter.run(line)
      }
    }
    for command in commands where !interpreter.hasQuit { await interpreter.run(command) }
    await disk.close()
    try await session.graph.close(node)
    return interpreter.hasFailed ? 1 : 0
  }
}
