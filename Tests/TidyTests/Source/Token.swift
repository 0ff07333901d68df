/// A word or a sign of a Swift source, with its place.
struct Token: Equatable, Sendable {
  enum Kind: Sendable {
    /// An identifier, a keyword, or a directive such as `#if`.
    case word
    /// A number.
    case number
    /// One byte of punctuation.
    case sign
    /// A string or regex literal; the text is empty: what it says is not code.
    case literal
    /// A comment, with its slashes.
    case comment
  }

  let kind: Kind
  let text: String
  /// The line of the first byte, from 1.
  let line: Int
  /// The bytes of the token in the file.
  let bytes: Range<Int>
}
