internal import BlockLayer

/// A JSON value as qemu's names and definitions have it: strings in single quotes too.
indirect enum JSONValue: Equatable, Sendable {
  case string(String)
  /// A number as it was written.
  case number(String)
  case bool(Bool)
  case null
  case array([JSONValue])
  case object([(key: String, value: JSONValue)])

  static func == (left: JSONValue, right: JSONValue) -> Bool {
    switch (left, right) {
    case (.string(let a), .string(let b)), (.number(let a), .number(let b)): a == b
    case (.bool(let a), .bool(let b)): a == b
    case (.null, .null): true
    case (.array(let a), .array(let b)): a == b
    case (.object(let a), .object(let b)):
      a.elementsEqual(b) { $0.key == $1.key && $0.value == $1.value }
    default: false
    }
  }
}

/// Reads one JSON value; what is wrong is told with qemu's words.
struct JSONReader {
  private static let maxDepth = 1024

  private var rest: Substring.UnicodeScalarView

  /// The value that `text` is.
  static func value(_ text: String) throws(BlockError) -> JSONValue {
    var reader = JSONReader(rest: text[...].unicodeScalars)
    reader.skipSpace()
    guard !reader.rest.isEmpty else {
      throw BlockError(.invalidArgument, "Expecting a JSON value")
    }
    let value = try reader.value(depth: 0)
    reader.skipSpace()
    guard reader.rest.isEmpty else {
      throw BlockError(.invalidArgument, "Expecting at most one JSON value")
    }
    return value
  }

  private func wrong(_ what: String) -> BlockError {
    BlockError(.invalidArgument, "JSON parse error, \(what)")
  }

  private mutating func skipSpace() {
    while let next = rest.first, next == " " || next == "\t" || next == "\n" || next == "\r" {
      rest.removeFirst()
    }
  }

  /// The next character that is no space, which stays where it is.
  private mutating func peek() throws(BlockError) -> Unicode.Scalar {
    skipSpace()
    guard let next = rest.first else { throw wrong("premature EOI") }
    return next
  }

  private mutating func value(depth: Int) throws(BlockError) -> JSONValue {
    guard depth < Self.maxDepth else {
      throw BlockError(.invalidArgument, "JSON nesting depth limit exceeded")
    }
    let next = try peek()
    switch next {
    case "{": return .object(try members(depth: depth))
    case "[": return .array(try elements(depth: depth))
    case "\"", "'": return .string(try string())
    case "-", "0"..."9": return try number()
    case "a"..."z": return try keyword()
    case "}", "]", ",", ":": throw wrong("expecting value")
    default:
      throw wrong("invalid character '\(OptionText.printable(String(next)))'")
    }
  }

  // MARK: - Containers

  private mutating func members(depth: Int) throws(BlockError) -> [(key: String, value: JSONValue)]
  {
    rest.removeFirst()
    var members: [(key: String, value: JSONValue)] = []
    if try peek() == "}" {
      rest.removeFirst()
      return members
    }
    while true {
      guard case .string(let key) = try value(depth: depth + 1) else {
        throw wrong("key is not a string in object")
      }
      guard try peek() == ":" else { throw wrong("missing : in object pair") }
      rest.removeFirst()
      let value = try value(depth: depth + 1)
      guard !members.contains(where: { $0.key == key }) else { throw wrong("duplicate key") }
      members.append((key, value))
      let next = try peek()
      guard next == "," || next == "}" else { throw wrong("expected separator in dict") }
      rest.removeFirst()
      if next == "}" { return members }
    }
  }

  private mutating func elements(depth: Int) throws(BlockError) -> [JSONValue] {
    rest.removeFirst()
    var elements: [JSONValue] = []
    if try peek() == "]" {
      rest.removeFirst()
      return elements
    }
    while true {
      elements.append(try value(depth: depth + 1))
      let next = try peek()
      guard next == "," || next == "]" else { throw wrong("expected separator in list") }
      rest.removeFirst()
      if next == "]" { return elements }
    }
  }

  // MARK: - Scalars

  private mutating func string() throws(BlockError) -> String {
    let quote = rest.removeFirst()
    var text = String.UnicodeScalarView()
    while let next = rest.popFirst() {
      if next == quote { return String(text) }
      guard next.value >= 0x20 else { break }
      text.append(next == "\\" ? try escaped() : next)
    }
    throw wrong("premature EOI")
  }

  private mutating func escaped() throws(BlockError) -> Unicode.Scalar {
    guard let letter = rest.popFirst() else { throw wrong("premature EOI") }
    switch letter {
    case "b": return "\u{8}"
    case "f": return "\u{c}"
    case "n": return "\n"
    case "r": return "\r"
    case "t": return "\t"
    case "\"", "'", "\\", "/": return letter
    case "u": return try unicodeScalar()
    default: throw wrong("invalid escape sequence '\\\(letter)' in string")
    }
  }

  /// The character behind `\u`: one code unit, or two that are a pair.
  private mutating func unicodeScalar() throws(BlockError) -> Unicode.Scalar {
    let start = rest
    let first = try codeUnit()
    var value = first
    if first & 0xfc00 == 0xd800, rest.starts(with: "\\u".unicodeScalars) {
      rest.removeFirst(2)
      let second = try codeUnit()
      if second & 0xfc00 == 0xdc00 {
        value = 0x10000 + (first & 0x3ff) << 10 + second & 0x3ff
      }
    }
    // No name has a zero in it.
    guard value != 0, let scalar = Unicode.Scalar(value) else { throw noCharacter(start, 4) }
    return scalar
  }

  private mutating func codeUnit() throws(BlockError) -> UInt32 {
    let digits = rest.prefix(4).prefix(while: \.properties.isASCIIHexDigit)
    guard digits.count == 4, let unit = UInt32(String(digits), radix: 16) else {
      throw noCharacter(rest, digits.count + 1)
    }
    rest.removeFirst(4)
    return unit
  }

  private func noCharacter(_ text: Substring.UnicodeScalarView, _ count: Int) -> BlockError {
    let shown = OptionText.printable(String(text.prefix(count)))
    return wrong("\\u\(shown) is not a valid Unicode character")
  }

  private mutating func number() throws(BlockError) -> JSONValue {
    let text = String(rest.prefix { "+-.eE0123456789".unicodeScalars.contains($0) })
    guard Double(text) != nil, text.last?.isNumber ?? false else { throw wrong("invalid number") }
    rest.removeFirst(text.unicodeScalars.count)
    return .number(text)
  }

  private mutating func keyword() throws(BlockError) -> JSONValue {
    let word = String(rest.prefix { ("a"..."z").contains($0) })
    rest.removeFirst(word.unicodeScalars.count)
    switch word {
    case "true": return .bool(true)
    case "false": return .bool(false)
    case "null": return .null
    default: throw wrong("invalid keyword '\(word)'")
    }
  }
}
