/// The name of a bitmap: 1 to 1023 bytes of UTF-8, any characters (spaces and colons too).
///
/// QMP `block-dirty-bitmap-add`, argument `name`.
public struct BitmapName: Hashable, Sendable, CustomStringConvertible {
  /// The name as text.
  public let text: String

  /// Checks `text`: `BitmapError.Code.emptyName` or `.nameTooLong` when it is no name.
  public init(_ text: String) throws(BitmapError) {
    try BitmapName.checkNotEmpty(text)
    try BitmapName.checkLength(text)
    self.text = text
  }

  /// Throws `.emptyName` for a text without a character: the first check of
  /// `block-dirty-bitmap-add`, before the node is looked up.
  public static func checkNotEmpty(_ text: String) throws(BitmapError) {
    if text.isEmpty { throw .emptyName }
  }

  /// Throws `.nameTooLong` for a text of more than 1023 bytes: a late check of
  /// `block-dirty-bitmap-add`, after the one for duplicates.
  public static func checkLength(_ text: String) throws(BitmapError) {
    if text.utf8.count > BitmapLimits.maximumNameByteCount { throw .nameTooLong(text) }
  }

  /// The name as text.
  public var description: String { text }
}
