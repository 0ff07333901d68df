/// Rules about imports.
enum ImportRules {
  static let all = [table, testable, synchronous]

  static let table = Rule(
    "a module imports only what stands in its row of the table", where: \.isEngine
  ) { file in
    guard let row = ImportTable.row(of: file) else {
      return [file.problem(0, "its module has no row in ImportTable")]
    }
    let allowed = ImportTable.allowed(in: row)
    return file.imports.filter { !allowed.contains($0.module) }.map {
      file.problem($0.line, "\(row) may not import \($0.module)")
    }
  }

  static let testable = Rule("no source imports with @testable", where: \.isEngine) { file in
    file.places(of: "@", "testable").map { file.problem($0, "@testable is for tests") }
  }

  static let synchronous = Rule(
    "the pure rooms hold no asynchronous code",
    where: { file in ImportTable.synchronous.contains { file.isBelow("Sources/" + $0) } }
  ) { file in
    file.code.filter { $0.kind == .word && ($0.text == "async" || $0.text == "await") }.map {
      file.problem($0.line, "`\($0.text)` in a room that must stay synchronous")
    }
  }
}

extension SourceFile {
  /// The modules that the file imports, with the lines.
  var imports: [(module: String, line: Int)] {
    code.indices.compactMap { index in
      guard code[index].text == "import", code[index].kind == .word else { return nil }
      var next = index + 1
      if next + 1 < code.count, SourceFile.importKinds.contains(code[next].text) { next += 1 }
      return next < code.count ? (code[next].text, code[index].line) : nil
    }
  }

  private static let importKinds: Set<String> = [
    "struct", "class", "enum", "protocol", "func", "var", "let", "typealias",
  ]

  /// The lines where the texts stand one after the other as tokens of code.
  func places(of texts: String...) -> [Int] {
    indexes[texts[0], default: []].compactMap { start in
      guard start + texts.count <= code.count else { return nil }
      let agrees = texts.indices.allSatisfy { code[start + $0].text == texts[$0] }
      return agrees ? code[start].line : nil
    }
  }
}
