/// The options that a command knows, and the words of a call by them.
struct OptionParser {
  /// An option that a command knows.
  struct Option {
    /// The name by which the command asks for it.
    let name: String
    let letter: Character?
    let word: String?
    let takesValue: Bool
  }

  /// What was found.
  struct Result {
    private(set) var operands: [String] = []
    /// The options in the order in which they were given.
    private(set) var items: [(name: String, value: String)] = []

    /// Whether the option was given.
    func has(_ name: String) -> Bool { items.contains { $0.name == name } }
    /// The option's last value.
    func value(_ name: String) -> String? { items.last { $0.name == name }?.value }
    /// All values, in order.
    func all(_ name: String) -> [String] { items.filter { $0.name == name }.map(\.value) }

    /// Throws where the image is a list of options, and its format is said besides.
    func checkFormat(_ format: String = "format") throws(ToolFailure) {
      guard has("image-opts"), has(format) else { return }
      throw ToolFailure(message: "--image-opts and --format are mutually exclusive")
    }

    fileprivate mutating func add(_ name: String, _ value: String) { items.append((name, value)) }
    fileprivate mutating func take(operands: [String]) { self.operands = operands }
  }

  /// Looks at an option as soon as it is met: what is wrong with it is told before what is wrong
  /// with those after it.
  typealias Look = (_ name: String, _ value: String) throws -> Void

  private var options: [Option] = []
  private var ours: [Option] = []

  /// A grammar from a description: words such as `f:format=` (letter, colon, word; `=` for a
  /// value).
  ///
  /// The name asked for is the word, or the letter where there is no word. `--help` and `-h` are
  /// known to every command. The options of `ours` are those that `lamina` has besides qemu's.
  init(_ description: String, ours: String = "") {
    options = Self.read("h:help " + description)
    self.ours = Self.read(ours)
  }

  private static func read(_ description: String) -> [Option] {
    description.split(separator: " ").map { item in
      let takesValue = item.hasSuffix("=")
      let parts = (takesValue ? item.dropLast() : item).split(
        separator: ":", omittingEmptySubsequences: false)
      let letter = parts[0].first
      let word = parts.count > 1 ? String(parts[1]) : nil
      let name = word ?? String(parts[0])
      return Option(name: name, letter: letter, word: word, takesValue: takesValue)
    }
  }

  /// Takes the words of a call of a verb of `tool` apart, as qemu-img does it.
  ///
  /// Throws `HelpRequest` when help is asked for.
  func parse(_ words: [String], of tool: Tool, _ look: Look = { _, _ in }) throws -> Result {
    let known = tool.persona.kind == .lamina ? options + ours : options
    var scanner = OptionScanner(known, [tool.verb] + words)
    var objects = UserObjects()
    return try parse(&scanner) { name, value in
      if name == "help" { throw HelpRequest() }
      if name == "object" { try objects.define(value) }
      try look(name, value)
    } failure: { problem in
      switch problem {
      case .unknown(let mistake):
        .usage("unrecognized option '\(mistake.word)'", library: mistake.text)
      case .missing(let mistake):
        .usage("missing argument for option '\(mistake.word)'", library: mistake.text)
      }
    }
  }

  /// Takes words apart that have no name in front; what is wrong is told as the C library does it.
  func parse(_ words: [String]) throws(ToolFailure) -> Result {
    var scanner = OptionScanner(options + ours, [""] + words)
    do {
      return try parse(&scanner) { _, _ in
      } failure: { problem in
        switch problem {
        case .unknown(let mistake), .missing(let mistake): .usage(mistake.text)
        }
      }
    } catch let failure as ToolFailure {
      throw failure
    } catch {
      throw ToolFailure(message: "\(error)")
    }
  }

  /// What is wrong with a word.
  private enum Problem {
    case unknown(OptionScanner.Mistake)
    case missing(OptionScanner.Mistake)
  }

  private func parse(
    _ scanner: inout OptionScanner, _ look: Look, failure: (Problem) -> ToolFailure
  ) throws -> Result {
    var result = Result()
    while let event = scanner.advance() {
      switch event {
      case .unknown(let mistake): throw failure(.unknown(mistake))
      case .missing(let mistake): throw failure(.missing(mistake))
      case .option(let name, let value):
        try look(name, value)
        result.add(name, value)
      }
    }
    result.take(operands: scanner.rest)
    return result
  }
}

/// Help was asked for, and nothing else is done.
struct HelpRequest: Error {}
