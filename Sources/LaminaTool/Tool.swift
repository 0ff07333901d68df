internal import Execution
internal import Lamina

/// The words that the tool knows, and what becomes of their errors.
struct Tool: Sendable {
  let console: Console
  /// As which tool it was called.
  var persona = Persona.lamina
  /// The command that is run; its name stands before its words.
  private(set) var verb = ""

  init(console: Console, persona: Persona = .lamina) {
    self.console = console
    self.persona = persona
  }

  /// The name it is called by.
  var name: String { persona.name }

  /// The commands that it has.
  var commands: [ToolCommand] {
    persona.kind == .image ? ToolCommand.image : ToolCommand.lamina
  }

  private static let options = [
    OptionParser.Option(name: "help", letter: "h", word: "help", takesValue: false),
    OptionParser.Option(name: "version", letter: "V", word: "version", takesValue: false),
    OptionParser.Option(name: "trace", letter: "T", word: "trace", takesValue: true),
  ]

  /// Runs the command that `words` name, in a World of its own.
  func run(_ words: [String]) -> Int32 {
    if persona.kind == .exerciser { return run(IOCommand.run, named: name, words) }
    var scanner = OptionScanner(Self.options, [name] + words, stopsAtOperand: true)
    while let event = scanner.advance() {
      switch event {
      case .option(name: "help", _):
        printHelp()
        return 0
      case .option(name: "version", _):
        for line in persona.versionLines { console.print(line) }
        return 0
      case .option: continue  // We trace nothing.
      case .unknown(let mistake): return complain(usage: "unrecognized option '\(mistake.word)'")
      case .missing(let mistake):
        return complain(usage: "missing argument for option '\(mistake.word)'")
      }
    }
    guard let first = scanner.rest.first else { return complain(usage: "Not enough arguments") }
    if persona.kind == .lamina, first == "help" {
      printHelp()
      return 0
    }
    guard let command = commands.first(where: { $0.name == first }) else {
      return complain(usage: "Command not found: \(first)")
    }
    return run(command.run, named: first, Array(scanner.rest.dropFirst()))
  }

  private func complain(usage message: String) -> Int32 {
    complain(ToolFailure.usage(message))
    return 1
  }

  /// A message as the persona has it: qemu-img asks who uses a locked image, and we know it.
  private func shown(_ message: String) -> String {
    guard persona.kind == .image,
      let lock = message.firstRange(of: "\" lock: \""),
      let end = message[lock.upperBound...].firstRange(of: "\" is open ")
    else { return message }
    let path = message[lock.upperBound..<end.lowerBound]
    return "\(message[..<lock.lowerBound])\" lock\nIs another process using the image [\(path)]?"
  }

  /// Says why a command ended.
  func complain(_ failure: ToolFailure) {
    console.complain("\(name): \(shown(failure.message))")
    if failure.hintsAtHelp { console.complain("Try '\(name) --help' for more information") }
    if let hint = failure.bareHint { console.writeError(hint) }
  }

  private func run(_ run: @escaping ToolCommand.Run, named verb: String, _ words: [String]) -> Int32
  {
    var tool = self
    tool.verb = verb
    return World.threaded().runBlocking { await tool.execute(run, words) }
  }

  private func execute(_ run: ToolCommand.Run, _ words: [String]) async -> Int32 {
    do {
      return try await run(self, words)
    } catch is HelpRequest {
      printHelp()
      return 0
    } catch let failure as ToolFailure {
      complain(failure)
      return failure.status
    } catch let error as BlockError {
      console.complain("\(name): \(shown(error.message))")
    } catch {
      console.complain("\(name): \(error)")
    }
    return 1
  }
}
