/// qemu's option grammar: options before, between and after operands, in any order and number,
/// `-f FMT`, `-fFMT`, `--output json`, `--output=json`, several letters in one word, `--` to end.
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
    private var values: [String: [String]] = [:]

    /// Whether the option was given.
    func has(_ name: String) -> Bool { values[name] != nil }
    /// The option's last value.
    func value(_ name: String) -> String? { values[name]?.last }
    /// All values, in order.
    func all(_ name: String) -> [String] { values[name] ?? [] }

    fileprivate mutating func add(_ name: String, _ value: String) {
      values[name, default: []].append(value)
    }
    fileprivate mutating func add(operand: String) { operands.append(operand) }
  }

  private var options: [Option] = []

  /// A grammar from a description: words such as `f:format=` (letter, colon, word; `=` for a
  /// value).
  ///
  /// The name asked for is the word, or the letter where there is no word.
  init(_ description: String) {
    for item in description.split(separator: " ") {
      let takesValue = item.hasSuffix("=")
      let parts = (takesValue ? item.dropLast() : item).split(
        separator: ":", omittingEmptySubsequences: false)
      let letter = parts[0].first
      let word = parts.count > 1 ? String(parts[1]) : nil
      let name = word ?? String(parts[0])
      options.append(Option(name: name, letter: letter, word: word, takesValue: takesValue))
    }
  }

  /// Takes the words of a command line apart.
  ///
  /// `--help` and `-h` are known to every command.
  func parse(_ words: [String]) throws(ToolFailure) -> Result {
    var result = Result()
    var rest = words[...]
    while let word = rest.popFirst() {
      if word == "--" {
        for operand in rest { result.add(operand: operand) }
        break
      } else if word.hasPrefix("--") {
        try parseWord(String(word.dropFirst(2)), &rest, &result)
      } else if word.hasPrefix("-"), word.count > 1 {
        try parseLetters(word.dropFirst(), &rest, &result)
      } else {
        result.add(operand: word)
      }
    }
    return result
  }

  private func parseWord(
    _ word: String, _ rest: inout ArraySlice<String>, _ result: inout Result
  ) throws(ToolFailure) {
    let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    let name = String(parts[0])
    guard let option = options.first(where: { $0.word == name }) else {
      if name == "help" { return result.add("help", "") }
      throw .usage("unrecognized option '--\(name)'")
    }
    guard option.takesValue else {
      if parts.count > 1 { throw .usage("option '--\(name)' doesn't allow an argument") }
      return result.add(option.name, "")
    }
    guard let value = parts.count > 1 ? String(parts[1]) : rest.popFirst() else {
      throw .usage("option '--\(name)' requires an argument")
    }
    result.add(option.name, value)
  }

  private func parseLetters(
    _ word: Substring, _ rest: inout ArraySlice<String>, _ result: inout Result
  ) throws(ToolFailure) {
    var letters = word
    while let letter = letters.popFirst() {
      guard let option = options.first(where: { $0.letter == letter }) else {
        if letter == "h" { return result.add("help", "") }
        throw .usage("unrecognized option '-\(letter)'")
      }
      guard option.takesValue else {
        result.add(option.name, "")
        continue
      }
      guard let value = letters.isEmpty ? rest.popFirst() : String(letters) else {
        throw .usage("option requires an argument -- '\(letter)'")
      }
      return result.add(option.name, value)
    }
  }
}
