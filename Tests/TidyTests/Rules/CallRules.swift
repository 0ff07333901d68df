/// Rules about what the code of Sources may call.
enum CallRules {
  static let all = [bannedCalls, unseeded, unsafe, leftovers]

  static let bannedCalls = Rule("no source calls what is banned", where: \.isEngine) { file in
    BannedCall.all.flatMap { call -> [Problem] in
      if call.allowed.contains(where: { file.isBelow("Sources/" + $0) }) { return [] }
      return file.places(of: call).map { file.problem($0, "`\(call.text)`: \(call.remedy)") }
    }
  }

  static let drawing: Set<String> = ["random", "randomElement", "shuffled", "shuffle"]

  static let unseeded = Rule(
    "every draw names its generator",
    where: { $0.isEngine && !$0.isBelow("Sources/Execution") }
  ) { file in
    file.code.indices.dropFirst().compactMap { index in
      let token = file.code[index]
      guard drawing.contains(token.text), file.code[index - 1].text == ".",
        let arguments = file.arguments(after: index), !arguments.contains(where: { $0 == "using" })
      else { return nil }
      return file.problem(token.line, "`.\(token.text)(` without `using:`: draw from a seed")
    }
  }

  static let unsafe = Rule(
    "unsafe memory is handled in a few named rooms",
    where: { $0.isEngine && !UnsafeTable.isAllowed($0) }
  ) { file in
    let words = file.indexes.filter { UnsafeTable.bans($0.key) }.values.joined().sorted().map {
      file.problem(file.code[$0].line, "`\(file.code[$0].text)` outside the rooms of UnsafeTable")
    }
    let isolation = file.places(of: "nonisolated", "(", "unsafe", ")").map {
      file.problem($0, "`nonisolated(unsafe)` outside the rooms of UnsafeTable")
    }
    return words + isolation
  }

  /// Written in pieces, so that a search for them finds only leftovers.
  static let leftoverMarks: Set<String> = ["TO" + "DO", "FIX" + "ME", "X" + "XX"]

  static let leftovers = Rule("no comment puts work off", where: \.isEngine) { file in
    file.comments.flatMap { comment in
      comment.text.split { !$0.isLetter }.map(String.init).filter(leftoverMarks.contains).map {
        file.problem(comment.line, "\($0): do it, or write an issue")
      }
    }
  }
}

extension SourceFile {
  /// The texts of the tokens in the parentheses right behind `index`; nil when there are none.
  fileprivate func arguments(after index: Int) -> [String]? {
    guard index + 1 < code.count, code[index + 1].text == "(" else { return nil }
    var depth = 0
    var texts: [String] = []
    for token in code[(index + 1)...] {
      if token.text == "(" { depth += 1 }
      if token.text == ")" { depth -= 1 }
      texts.append(token.text)
      if depth == 0 { break }
    }
    return texts
  }
}
