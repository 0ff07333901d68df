/// The words of a call as C's `getopt_long` walks them: options before, between and after operands,
/// several letters in one word, values that are attached or follow, long options by any beginning
/// that is theirs alone, `--` to end.
///
/// Operands that were passed over move behind the options in front of which they stood, as they do
/// in C: messages name the word before the next one.
struct OptionScanner {
  /// What the walk meets.
  enum Event: Equatable {
    /// An option; the value is empty where it takes none.
    case option(name: String, value: String)
    /// A word that is no option of the grammar, or whose beginning several share.
    case unknown(Mistake)
    /// An option whose value is missing.
    case missing(Mistake)
  }

  /// What is wrong with an option, in the two wordings that tools use.
  struct Mistake: Equatable {
    /// The word before the one that comes next.
    let word: String
    /// What the C library itself says.
    let text: String
  }

  private let options: [OptionParser.Option]
  private let stopsAtOperand: Bool
  private let hasLongOptions: Bool
  private var words: [String]
  /// The index of the word that comes next.
  private var next = 1
  /// Operands that were passed over, and not moved yet.
  private var passed = 1..<1
  /// The letters of the present word that were not looked at yet.
  private var letters: Substring = ""

  /// A walk through `words`, which begin with a name that is none of them.
  ///
  /// Without long options it is that of `getopt`.
  init(
    _ options: [OptionParser.Option], _ words: [String], stopsAtOperand: Bool = false,
    hasLongOptions: Bool = true
  ) {
    self.options = options
    self.words = words
    self.stopsAtOperand = stopsAtOperand
    self.hasLongOptions = hasLongOptions
  }

  /// The words after the options; all of them are operands once `advance` has answered nil.
  var rest: [String] { Array(words[min(next, words.count)...]) }

  /// The next thing; nil when there are only operands left.
  mutating func advance() -> Event? {
    if letters.isEmpty {
      guard findOption() else { return nil }
      let word = words[next]
      if hasLongOptions, word.hasPrefix("--") {
        next += 1
        return long(word.dropFirst(2))
      }
      letters = word.dropFirst()
    }
    return short()
  }

  // MARK: - Words

  private func isOperand(_ word: String) -> Bool { !word.hasPrefix("-") || word == "-" }

  /// Goes to the next word that is an option; false when there is none.
  private mutating func findOption() -> Bool {
    movePassed()
    if !stopsAtOperand { while next < words.count, isOperand(words[next]) { next += 1 } }
    passed = passed.lowerBound..<next
    if next < words.count, words[next] == "--" {
      next += 1
      movePassed()
      if passed.isEmpty { passed = next..<next }
      next = passed.lowerBound
      return false
    }
    guard next < words.count, !isOperand(words[next]) else {
      next = passed.lowerBound
      return false
    }
    return true
  }

  /// Moves the operands that were passed over behind the options since.
  private mutating func movePassed() {
    if passed.isEmpty {
      passed = next..<next
    } else if passed.upperBound != next {
      let operands = words[passed]
      let options = words[passed.upperBound..<next]
      words.replaceSubrange(passed.lowerBound..<next, with: options + operands)
      passed = passed.lowerBound + options.count..<next
    }
  }

  // MARK: - Options

  private mutating func long(_ word: Substring) -> Event {
    let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    let name = String(parts[0])
    let candidates = options.filter { $0.word?.hasPrefix(name) ?? false }
    let exact = candidates.first { $0.word == name }
    guard let option = exact ?? candidates.first else {
      return .unknown(mistake("unrecognized option '--\(name)'"))
    }
    guard exact != nil || candidates.count == 1 else {
      let names = candidates.compactMap(\.word).map { " '--\($0)'" }.joined()
      return .unknown(mistake("option '--\(word)' is ambiguous; possibilities:\(names)"))
    }
    let full = option.word ?? ""
    guard option.takesValue else {
      guard parts.count == 1 else {
        return .unknown(mistake("option '--\(full)' doesn't allow an argument"))
      }
      return .option(name: option.name, value: "")
    }
    if parts.count > 1 { return .option(name: option.name, value: String(parts[1])) }
    guard let value = takeWord() else {
      return .missing(mistake("option '--\(full)' requires an argument"))
    }
    return .option(name: option.name, value: value)
  }

  private mutating func short() -> Event {
    let letter = letters.removeFirst()
    if letters.isEmpty { next += 1 }
    guard let option = options.first(where: { $0.letter == letter }), letter != ":" else {
      return .unknown(mistake("invalid option -- '\(letter)'"))
    }
    guard option.takesValue else { return .option(name: option.name, value: "") }
    if !letters.isEmpty {
      let value = String(letters)
      letters = ""
      next += 1
      return .option(name: option.name, value: value)
    }
    guard let value = takeWord() else {
      return .missing(mistake("option requires an argument -- '\(letter)'"))
    }
    return .option(name: option.name, value: value)
  }

  private mutating func takeWord() -> String? {
    guard next < words.count else { return nil }
    defer { next += 1 }
    return words[next]
  }

  private func mistake(_ text: String) -> Mistake {
    Mistake(word: words[next - 1], text: text)
  }
}
