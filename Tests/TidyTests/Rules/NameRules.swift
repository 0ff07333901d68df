/// Rules about names of files and tests.
enum NameRules {
  static let all = [fileName, facet, testName, suiteName]

  static let vagueWords: Set<String> = [
    "Util", "Utils", "Utility", "Utilities", "Helper", "Helpers", "Misc", "Common", "Manager",
    "Managers",
  ]

  static let fileName = Rule("a file is named by its subject", where: \.isSwift) { file in
    camelWords(file.stem).filter(vagueWords.contains).map {
      file.problem(0, "`\($0)` in a file's name says nothing: name the subject")
    }
  }

  static let facet = Rule(
    "a file Type+Facet.swift declares or extends Type",
    where: { $0.isSwift && $0.stem.contains("+") }
  ) { file in
    guard let type = file.stem.split(separator: "+").first else { return [] }
    let keywords: Set<String> = ["extension", "struct", "class", "enum", "protocol", "actor"]
    let declares = file.code.indices.dropLast().contains {
      keywords.contains(file.code[$0].text) && file.code[$0 + 1].text == type
    }
    return declares ? [] : [file.problem(0, "no `extension \(type)` in it: rename the file")]
  }

  static let minTestWords = 3

  static let testName = Rule(
    "a test's name states a behaviour", where: { $0.isSwift && $0.isBelow("Tests") }
  ) { file in
    file.declarations(markedBy: "Test", keyword: "func").compactMap { name, line in
      let words =
        name.hasPrefix("`") ? name.split(separator: " ").map(String.init) : camelWords(name)
      if words.first?.lowercased() == "test" {
        return file.problem(line, "\(name): say what holds, without `test`")
      }
      if words.count < minTestWords {
        return file.problem(line, "\(name): say in a few words what holds and when")
      }
      return nil
    }
  }

  static let suiteName = Rule(
    "a suite's name says what it tests", where: { $0.isSwift && $0.isBelow("Tests") }
  ) { file in
    ["struct", "class", "enum", "actor"].flatMap {
      file.declarations(markedBy: "Suite", keyword: $0)
    }.filter { $0.name == "Tests" || $0.name.last?.isNumber == true }.map {
      file.problem($0.line, "\($0.name): name the suite by its subject")
    }
  }

  /// The words of a name in camel case: `BlockNode+Drain` is Block, Node, Drain.
  ///
  /// Digits belong to the word before them.
  static func camelWords(_ name: some StringProtocol) -> [String] {
    var words: [String] = []
    var isInside = false
    for character in name {
      guard character.isLetter || character.isNumber else {
        isInside = false
        continue
      }
      if character.isUppercase || !isInside {
        words.append(String(character))
      } else {
        words[words.count - 1].append(character)
      }
      isInside = true
    }
    return words
  }
}

extension SourceFile {
  /// The names declared with `keyword` behind an attribute `@attribute`, with its arguments, and
  /// other attributes or modifiers.
  fileprivate func declarations(
    markedBy attribute: String, keyword: String
  ) -> [(name: String, line: Int)] {
    code.indices.dropLast().compactMap { index in
      guard code[index].text == "@", code[index + 1].text == attribute else { return nil }
      var depth = 0
      for next in (index + 2)..<max(index + 2, code.count - 1) {
        let text = code[next].text
        if text == "(" { depth += 1 }
        if text == ")" { depth -= 1 }
        if depth == 0 && text == keyword { return (code[next + 1].text, code[next + 1].line) }
        if depth == 0 && (text == "{" || text == "}") { return nil }
      }
      return nil
    }
  }
}
