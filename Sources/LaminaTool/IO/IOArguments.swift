/// The options and operands of a command, as C's `getopt` walks them.
struct IOArguments {
  /// The options that were given, in order.
  private var items: [(letter: Character, value: String)] = []
  private(set) var operands: [String] = []

  func has(_ letter: Character) -> Bool { items.contains { $0.letter == letter } }
  /// The option's last value.
  func value(_ letter: Character) -> String? { items.last { $0.letter == letter }?.value }
  /// All values, in order.
  func all(_ letter: Character) -> [String] {
    items.filter { $0.letter == letter }.map(\.value)
  }

  /// Takes the words of a command apart, the first of which is its name.
  ///
  /// `letters` are the options that it has; a colon stands behind those with a value. `look` sees
  /// each option before those after it are looked at. What is wrong is told, and the command's line
  /// of help follows.
  init(
    _ words: [String], _ letters: String, _ session: IOSession,
    _ look: (_ letter: Character, _ value: String) throws -> Void = { _, _ in }
  ) throws {
    let options = Self.options(letters)
    var scanner = OptionScanner(options, words, hasLongOptions: false)
    while let event = scanner.advance() {
      switch event {
      case .unknown(let mistake), .missing(let mistake):
        session.console.complain("\(words[0]): \(mistake.text)")
        throw IOFailure.usage
      case .option(let name, let value):
        guard let letter = name.first else { continue }
        try look(letter, value)
        items.append((letter, value))
      }
    }
    operands = scanner.rest
  }

  private static func options(_ letters: String) -> [OptionParser.Option] {
    var options: [OptionParser.Option] = []
    var rest = letters[...]
    while let letter = rest.popFirst() {
      let takesValue = rest.first == ":"
      if takesValue { rest.removeFirst() }
      options.append(
        OptionParser.Option(
          name: String(letter), letter: letter, word: nil, takesValue: takesValue))
    }
    return options
  }
}
