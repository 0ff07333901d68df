/// Why bytes are no qcow2 image, or a part of one, that can be used; or why no such bytes can be
/// made.
///
/// Where QEMU 7.2 has a text for the case, `message` is that text. Layers above add the file.
public struct Qcow2FormatError: Error, Hashable, Sendable {
  /// The kind of failure, for callers that decide by it.
  public enum Code: Hashable, Sendable {
    /// The file has another format: its first four bytes are not qcow2's.
    case notQcow2
    /// A version, cluster size, feature or method that no part of this engine knows.
    case unsupported
    /// The image is marked corrupt, and was to be written.
    case markedCorrupt
    /// A field of the header contradicts the format or another field.
    case invalidHeader
    /// A table's size or place is impossible.
    case invalidTable
    /// A number is beyond a limit of `FormatLimits`.
    case tooLarge
    /// A header extension is malformed, or stands twice.
    case invalidExtension
    /// The bitmap directory, or a bitmap's table, is malformed.
    case invalidBitmap
    /// The snapshot table is malformed.
    case invalidSnapshot
    /// A structure ends beyond the file.
    case truncated
    /// Options for a new image that the format cannot express.
    case invalidOption
    /// Header, extensions and names do not fit into the first cluster.
    case noSpace
  }

  /// The kind of failure.
  public let code: Code
  /// What is wrong, in one line; names from the image are made printable.
  public let message: String

  /// Makes an error of a kind and a one-line text.
  public init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }
}

extension Qcow2FormatError: CustomStringConvertible {
  /// The message.
  public var description: String { message }
}
