/// Cuts a Swift source into tokens, well enough for rules about words and braces.
///
/// It knows nested comments, raw and multi-line strings, and the code inside interpolations. It
/// does not know bare regex literals (`/…/`): write `#/…/#`.
struct Lexer {
  private let source: [UInt8]
  private var position = 0
  private var line = 1
  private var tokens: [Token] = []

  static func tokens(of source: [UInt8]) -> [Token] {
    var lexer = Lexer(source: source)
    lexer.scan(untilClosingParenthesis: false)
    return lexer.tokens
  }

  private init(source: [UInt8]) { self.source = source }

  /// Scans to the end, or to the parenthesis that ends an interpolation (which is consumed).
  private mutating func scan(untilClosingParenthesis: Bool) {
    var depth = 0
    while let byte = peek() {
      switch byte {
      case .newline: advance()
      case .space, .tab, .carriageReturn: position += 1
      case .slash where peek(1) == .slash: lineComment()
      case .slash where peek(1) == .star: blockComment()
      case .quote: string(hashes: 0)
      case .hash: hash()
      case .backtick: quotedWord()
      case _ where byte.startsWord: word()
      case _ where byte.isDigit: number()
      default:
        if byte == .openParenthesis { depth += 1 }
        if byte == .closeParenthesis { depth -= 1 }
        if untilClosingParenthesis && depth < 0 {
          position += 1
          return
        }
        emit(.sign, from: position, to: position + 1)
      }
    }
  }

  private func peek(_ distance: Int = 0) -> UInt8? {
    position + distance < source.count ? source[position + distance] : nil
  }

  private func has(_ bytes: [UInt8], at offset: Int) -> Bool {
    offset + bytes.count <= source.count
      && bytes.indices.allSatisfy { source[offset + $0] == bytes[$0] }
  }

  private mutating func advance(_ count: Int = 1) {
    for _ in 0..<count where position < source.count {
      if source[position] == .newline { line += 1 }
      position += 1
    }
  }

  private mutating func emit(_ kind: Token.Kind, from start: Int, to end: Int, line: Int? = nil) {
    let text = kind == .literal ? "" : String(decoding: source[start..<end], as: UTF8.self)
    tokens.append(Token(kind: kind, text: text, line: line ?? self.line, bytes: start..<end))
    position = end
  }

  private mutating func lineComment() {
    let end = source[position...].firstIndex(of: .newline) ?? source.count
    emit(.comment, from: position, to: end)
  }

  private mutating func blockComment() {
    let (start, startLine) = (position, line)
    var depth = 0
    repeat {
      if has([.slash, .star], at: position) {
        depth += 1
        advance(2)
      } else if has([.star, .slash], at: position) {
        depth -= 1
        advance(2)
      } else {
        advance()
      }
    } while depth > 0 && position < source.count
    emit(.comment, from: start, to: position, line: startLine)
  }

  /// A directive (`#if`), a raw string (`#"…"#`) or a regex (`#/…/#`).
  private mutating func hash() {
    var count = 1
    while peek(count) == .hash { count += 1 }
    switch peek(count) {
    case UInt8.quote:
      position += count
      string(hashes: count)
    case UInt8.slash:
      let end = [.slash] + [UInt8](repeating: .hash, count: count)
      let (start, startLine) = (position, line)
      advance(count + 1)
      while position < source.count && !has(end, at: position) { advance() }
      advance(end.count)
      emit(.literal, from: start, to: position, line: startLine)
    default:
      var end = position + count
      while end < source.count && source[end].continuesWord { end += 1 }
      emit(.word, from: position, to: end)
    }
  }

  /// A string whose first quote is at `position`, behind `hashes` number signs.
  private mutating func string(hashes: Int) {
    let (start, startLine) = (position, line)
    let suffix = [UInt8](repeating: .hash, count: hashes)
    let isMultiline = has([.quote, .quote, .quote], at: position)
    let end = [UInt8](repeating: .quote, count: isMultiline ? 3 : 1) + suffix
    let escape = [.backslash] + suffix
    advance(isMultiline ? 3 : 1)
    while position < source.count && !has(end, at: position) {
      guard has(escape, at: position) else {
        if !isMultiline && peek() == .newline { break }  // unterminated: not Swift
        advance()
        continue
      }
      advance(escape.count)
      let isInterpolation = peek() == .openParenthesis
      advance()
      if isInterpolation { scan(untilClosingParenthesis: true) }
    }
    advance(end.count)
    emit(.literal, from: start, to: position, line: startLine)
  }

  private mutating func quotedWord() {
    let rest = source[(position + 1)...]
    let end = rest.firstIndex(of: .backtick).map { $0 + 1 } ?? source.count
    emit(.word, from: position, to: end)
  }

  private mutating func word() {
    var end = position + 1
    while end < source.count && source[end].continuesWord { end += 1 }
    emit(.word, from: position, to: end)
  }

  private mutating func number() {
    var end = position + 1
    while end < source.count {
      let isPoint = source[end] == .point && end + 1 < source.count && source[end + 1].isDigit
      guard source[end].continuesWord || isPoint else { break }
      end += 1
    }
    emit(.number, from: position, to: end)
  }
}

extension UInt8 {
  fileprivate static let tab = UInt8(ascii: "\t")
  fileprivate static let newline = UInt8(ascii: "\n")
  fileprivate static let carriageReturn = UInt8(ascii: "\r")
  fileprivate static let space = UInt8(ascii: " ")
  fileprivate static let quote = UInt8(ascii: "\"")
  fileprivate static let hash = UInt8(ascii: "#")
  fileprivate static let slash = UInt8(ascii: "/")
  fileprivate static let backslash = UInt8(ascii: "\\")
  fileprivate static let star = UInt8(ascii: "*")
  fileprivate static let point = UInt8(ascii: ".")
  fileprivate static let backtick = UInt8(ascii: "`")
  fileprivate static let openParenthesis = UInt8(ascii: "(")
  fileprivate static let closeParenthesis = UInt8(ascii: ")")

  fileprivate var isDigit: Bool { UInt8(ascii: "0")...UInt8(ascii: "9") ~= self }

  fileprivate var startsWord: Bool {
    UInt8(ascii: "a")...UInt8(ascii: "z") ~= self || UInt8(ascii: "A")...UInt8(ascii: "Z") ~= self
      || self == UInt8(ascii: "_") || self == UInt8(ascii: "$") || self >= 0x80
  }

  fileprivate var continuesWord: Bool { startsWord || isDigit }
}
