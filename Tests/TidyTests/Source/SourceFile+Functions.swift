/// A function's body in a source.
struct FunctionBody: Equatable {
  let name: String
  /// The line of the keyword.
  let line: Int
  /// The lines strictly between the braces.
  let lineCount: Int
}

extension SourceFile {
  /// The bodies of functions, initialisers, subscripts and computed properties, in order of their
  /// keywords; a nested function counts by itself and in the one around it.
  var functionBodies: [FunctionBody] {
    code.indices.compactMap { index in
      guard let name = declaredFunction(at: index), let open = bodyStart(after: index),
        let close = closingBrace(of: open)
      else { return nil }
      let lineCount = max(0, code[close].line - code[open].line - 1)
      return FunctionBody(name: name, line: code[index].line, lineCount: lineCount)
    }
  }

  /// The first brace that has no partner, or nil.
  ///
  /// When there is one, the lexer or the file is wrong, and lengths of functions mean nothing.
  var unbalancedBrace: Token? {
    var open: [Token] = []
    for token in code where token.kind == .sign {
      if token.text == "{" { open.append(token) }
      if token.text == "}", open.popLast() == nil { return token }
    }
    return open.last
  }

  /// The name of what has a body, when a keyword that declares such a thing stands at `index`.
  private func declaredFunction(at index: Int) -> String? {
    let token = code[index]
    guard token.kind == .word else { return nil }
    let isMember = index > 0 && code[index - 1].text == "."
    switch token.text {
    case "func", "var": return index + 1 < code.count ? code[index + 1].text : nil
    case "init", "deinit", "subscript": return isMember ? nil : token.text
    default: return nil
    }
  }

  /// The brace that opens the body of the declaration at `index`; nil when it has none.
  private func bodyStart(after index: Int) -> Int? {
    let isProperty = code[index].text == "var"
    var depth = 0
    var next = index + 1
    while next < code.count {
      let token = code[next]
      switch token.text {
      case "(", "[": depth += 1
      case ")", "]": depth -= 1
      case "{" where depth == 0: return next
      case "}", ";": if depth <= 0 { return nil }
      case "=" where isProperty && depth == 0: return nil  // a stored property with a value
      default: break
      }
      if depth < 0 { return nil }
      if depth == 0 && next > index + 1 && token.startsDeclaration { return nil }
      // A stored property ends with its line; a body's brace stands on it.
      if depth == 0 && isProperty && next + 1 < code.count && code[next + 1].line > token.line {
        return nil
      }
      next += 1
    }
    return nil
  }

  private func closingBrace(of open: Int) -> Int? {
    var depth = 0
    for index in open..<code.count where code[index].kind == .sign {
      if code[index].text == "{" { depth += 1 }
      if code[index].text == "}" { depth -= 1 }
      if depth == 0 { return index }
    }
    return nil
  }
}

extension Token {
  /// Whether the word cannot stand in a function's signature, so that the one before has no body.
  fileprivate var startsDeclaration: Bool {
    kind == .word && (Token.declarationWords.contains(text) || text.hasPrefix("#"))
  }

  private static let declarationWords: Set<String> = [
    "func", "var", "let", "init", "deinit", "subscript", "struct", "class", "enum", "extension",
    "protocol", "actor", "case", "typealias", "associatedtype", "static", "public", "private",
    "internal", "package", "fileprivate", "mutating", "nonmutating", "override", "import",
  ]
}
