/// A file of the repository: what the rules read.
struct SourceFile: Sendable {
  /// The path from the repository's root, with slashes.
  let path: String
  /// The size in bytes.
  let byteCount: Int
  /// The text; empty when the file is binary (not UTF-8, or with a zero byte) or over `maxText`.
  let text: String
  /// The lines without their newlines; a newline at the end starts no line.
  let lines: [Substring]
  /// The tokens of a Swift file without its comments.
  let code: [Token]
  /// Where each text stands in `code`.
  let indexes: [String: [Int]]
  /// The comments of a Swift file.
  let comments: [Token]

  /// Files above this many bytes are not read.
  static let maxText = 4 << 20

  /// A file that the rules can be tried on.
  init(path: String, text: String) { self.init(path: path, bytes: Array(text.utf8)) }

  init(path: String, bytes: [UInt8]) {
    self.path = path
    byteCount = bytes.count
    let readable = bytes.count <= SourceFile.maxText && !bytes.contains(0)
    text = readable ? String(validating: bytes, as: UTF8.self) ?? "" : ""
    // By bytes: a carriage return and a newline are one Character.
    var lines = text.utf8.split(separator: 0x0a, omittingEmptySubsequences: false).map(
      Substring.init)
    if lines.last?.isEmpty == true { lines.removeLast() }
    self.lines = lines
    let tokens = path.hasSuffix(".swift") ? Lexer.tokens(of: bytes) : []
    let code = tokens.filter { $0.kind != .comment }
    self.code = code
    indexes = Dictionary(grouping: code.indices) { code[$0].text }
    comments = tokens.filter { $0.kind == .comment }
  }

  /// The components of the path.
  var components: [Substring] { path.split(separator: "/") }

  /// The last component of the path.
  var name: Substring { components.last ?? "" }

  /// The name without what follows its last point.
  var stem: Substring {
    guard let point = name.lastIndex(of: "."), point != name.startIndex else { return name }
    return name[..<point]
  }

  /// What follows the last point of the name; empty when there is none.
  var fileExtension: Substring { name.dropFirst(stem.count + 1) }

  var isSwift: Bool { fileExtension == "swift" }
  var isMarkdown: Bool { fileExtension == "md" }

  /// The module of a file below `Sources`, or nil.
  var module: String? {
    let parts = components
    return parts.count >= 3 && parts[0] == "Sources" ? String(parts[1]) : nil
  }

  /// Whether the file is Swift below `Sources`, which the strictest rules are for.
  var isEngine: Bool { isSwift && module != nil }

  /// Whether the file lies in `folder` or deeper; a prefix of a folder's name is not enough.
  func isBelow(_ place: String) -> Bool { path == place || path.hasPrefix(place + "/") }
}
