import Testing

/// Where a file breaks a rule, and what to do about it.
struct Problem: Equatable, CustomStringConvertible {
  let path: String
  /// The line, from 1; 0 when the whole file is meant.
  let line: Int
  let message: String

  var description: String { line == 0 ? "\(path): \(message)" : "\(path):\(line): \(message)" }
}

/// A habit of the house that can be read off the files: a pure function from files to problems.
struct Rule: Sendable, CustomTestStringConvertible {
  /// The rule as a sentence.
  let sentence: String
  private let check: @Sendable ([SourceFile]) -> [Problem]

  /// A rule about all files together.
  init(_ sentence: String, acrossFiles check: @escaping @Sendable ([SourceFile]) -> [Problem]) {
    self.sentence = sentence
    self.check = check
  }

  /// A rule about each file that `applies` names.
  init(
    _ sentence: String, where applies: @escaping @Sendable (SourceFile) -> Bool,
    check: @escaping @Sendable (SourceFile) -> [Problem]
  ) {
    self.init(sentence) { files in files.filter(applies).flatMap(check) }
  }

  var testDescription: String { sentence }

  func problems(in files: [SourceFile]) -> [Problem] { check(files) }

  /// What the rule says about one text at `path`.
  func problems(_ path: String, _ text: String) -> [Problem] {
    check([SourceFile(path: path, text: text)])
  }

  /// Every rule of the house.
  static let all: [Rule] =
    ImportRules.all + ShapeRules.all + NameRules.all + CallRules.all + DocumentRules.all
    + TreeRules.all
}

extension SourceFile {
  func problem(_ line: Int, _ message: String) -> Problem {
    Problem(path: path, line: line, message: message)
  }
}
