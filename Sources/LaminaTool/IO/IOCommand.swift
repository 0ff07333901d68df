internal import BlockLayer
internal import Execution
internal import Lamina

/// `lamina io`, and the tool that answers to `qemu-io`: small commands that read and write an
/// image.
enum IOCommand {
  private static let options = [
    option("h", "help"), option("V", "version"), option("c", "cmd", takesValue: true),
    option("f", "format", takesValue: true), option("r", "read-only"), option("s", "snapshot"),
    option("n", "nocache"), option("C", "copy-on-read"), option("m", "misalign"),
    option("k", "native-aio"), option("i", "aio", takesValue: true),
    option("t", "cache", takesValue: true), option("d", "discard", takesValue: true),
    option("T", "trace", takesValue: true), option("U", "force-share"),
    option(nil, "object", takesValue: true), option(nil, "image-opts"),
  ]

  private static func option(
    _ letter: Character?, _ word: String, takesValue: Bool = false
  ) -> OptionParser.Option {
    OptionParser.Option(
      name: letter.map(String.init) ?? word, letter: letter, word: word, takesValue: takesValue)
  }

  /// What a call asks for.
  private struct Call {
    var image = IOOpenRequest()
    var commands: [String] = []
    var answer: Int32?
  }

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    let call: Call
    do {
      call = try read(words, tool)
    } catch let failure as IOFailure {
      if case .reported(let text) = failure { throw ToolFailure(message: text) }
      return 1
    }
    if let answer = call.answer { return answer }
    guard let world = World.current else {
      throw ToolFailure(message: "a command runs inside a World")
    }
    let session = IOSession(tool, in: world)
    if call.image.name != nil {
      do throws(IOFailure) {
        try await session.open(call.image)
      } catch {
        if case .reported(let text) = error { throw ToolFailure(message: text) }
        return 1
      }
    }
    if call.commands.isEmpty { await session.runInput() }
    for command in call.commands where !session.hasQuit { await session.run(command) }
    await session.close()
    return session.hasFailed ? 1 : 0
  }

  /// Takes the words apart; whatever is wrong is told at once, and in their order.
  private static func read(_ words: [String], _ tool: Tool) throws -> Call {
    var call = Call()
    var objects = UserObjects()
    var scanner = OptionScanner(options, [tool.verb] + words)
    while let event = scanner.advance() {
      switch event {
      case .unknown(let mistake), .missing(let mistake):
        tool.console.complain("\(tool.name): \(mistake.text)")
        return refused(tool)
      case .option(name: "h", _):
        IOHelp.printUsage(tool)
        call.answer = 0
        return call
      case .option(name: "V", _):
        for line in tool.persona.versionLines { tool.console.print(line) }
        call.answer = 0
        return call
      case .option(name: "c", let value): call.commands.append(value)
      case .option(name: "f", let value): call.image.format = value
      case .option(name: "image-opts", _): call.image.isOptionList = true
      case .option(name: "object", let value): try objects.define(value)
      // We trace nothing, and allocate as requests want it.
      case .option(name: "T", _), .option(name: "m", _): continue
      case .option(let name, let value):
        if let letter = name.first { try call.image.take(letter, value) }
      }
    }
    guard scanner.rest.count <= 1 else { return refused(tool) }
    if call.image.format != nil, call.image.isOptionList {
      throw IOFailure.reported("--image-opts and -f are mutually exclusive")
    }
    call.image.name = scanner.rest.first
    return call
  }

  private static func refused(_ tool: Tool) -> Call {
    IOHelp.printUsage(tool)
    var call = Call()
    call.answer = 1
    return call
  }
}
