public import Primitives
public import SystemPackage

/// What went wrong with a block operation, and what to do about it.
///
/// Equality looks at the code and the errno only, so that a test can write the error it expects.
public struct BlockError: Error, Sendable {
  /// The kind of a failure.
  ///
  /// New kinds may be added.
  public struct Code: Hashable, Sendable, CustomStringConvertible {
    /// The kind's name.
    public let description: String

    /// The host or a driver failed an operation; `errno` says how.
    public static let io = Code(description: "io")
    /// The device is full (ENOSPC).
    public static let noSpace = Code(description: "no space")
    /// The request lies outside the node.
    public static let outOfRange = Code(description: "out of range")
    /// The node or the image is open read-only.
    public static let readOnly = Code(description: "read-only")
    /// Bytes of the image contradict its format.
    public static let corrupt = Code(description: "corrupt")
    /// The file is no image of the named format.
    public static let invalidImage = Code(description: "invalid image")
    /// The operation or feature does not exist here; the message names it.
    public static let unsupported = Code(description: "unsupported")
    /// An argument is wrong.
    public static let invalidArgument = Code(description: "invalid argument")
    /// A file, node or device of that name does not exist.
    public static let notFound = Code(description: "not found")
    /// Something of that name exists.
    public static let alreadyExists = Code(description: "already exists")
    /// The open policy's gate refused a name from inside an image, or the guard of an image that
    /// was guessed to be raw a change that would make it look like another.
    public static let refused = Code(description: "refused")
    /// Another process, node, job or export uses it.
    public static let inUse = Code(description: "in use")
    /// Two users' permissions on a node contradict each other.
    public static let permissionConflict = Code(description: "permission conflict")
    /// A backing chain leads back to itself or is deeper than allowed.
    public static let backingLoop = Code(description: "backing loop")
    /// An earlier failure made further writes unsafe; reopen and check the image.
    public static let poisoned = Code(description: "poisoned")
    /// A dirty bitmap refused the operation; `cause` is its error.
    public static let bitmap = Code(description: "bitmap")
    /// The waiting task was cancelled.
    public static let cancelled = Code(description: "cancelled")
    /// The node or backend is closed.
    public static let closed = Code(description: "closed")
  }

  // One reference, so that a throwing call returns one word, not seven.
  private final class Details: Sendable {
    let code: Code
    let message: String
    let errno: Errno?
    let node: String?
    let range: ByteRange?
    let cause: (any Error)?

    init(
      code: Code, message: String, errno: Errno?, node: String?, range: ByteRange?,
      cause: (any Error)?
    ) {
      self.code = code
      self.message = message
      self.errno = errno
      self.node = node
      self.range = range
      self.cause = cause
    }
  }

  private let details: Details

  /// Makes an error.
  ///
  /// `message` says what is wrong and, where it is not plain, what to do.
  public init(
    _ code: Code, _ message: String, errno: Errno? = nil, node: String? = nil,
    range: ByteRange? = nil, cause: (any Error)? = nil
  ) {
    details = Details(
      code: code, message: message, errno: errno, node: node, range: range, cause: cause)
  }

  /// The failure of a host call, told by its errno; ENOSPC and EROFS get codes of their own.
  public static func host(_ errno: Errno, _ what: String, range: ByteRange? = nil) -> BlockError {
    let code: Code =
      switch errno {
      case .noSpace, .diskQuotaExceeded: .noSpace
      case .readOnlyFileSystem: .readOnly
      case .noSuchFileOrDirectory: .notFound
      case .fileExists: .alreadyExists
      default: .io
      }
    return BlockError(code, "\(what): \(errno)", errno: errno, range: range)
  }

  /// The kind of the failure.
  public var code: Code { details.code }
  /// What is wrong, in one line.
  public var message: String { details.message }
  /// The errno that a guest or a caller of QEMU would see.
  ///
  /// Kinds without one of their own count as EIO.
  public var errno: Errno {
    if let errno = details.errno { return errno }
    return switch code {
    case .noSpace: .noSpace
    case .readOnly, .refused, .permissionConflict: .permissionDenied
    case .unsupported: .notSupported
    case .invalidArgument, .invalidImage: .invalidArgument
    case .notFound: .noSuchFileOrDirectory
    case .alreadyExists: .fileExists
    case .inUse: .resourceBusy
    case .cancelled: .canceled
    default: .ioError
    }
  }
  /// The node at which it happened, if known.
  public var node: String? { details.node }
  /// The bytes of that node which were asked for, if it was a request.
  public var range: ByteRange? { details.range }
  /// The error below this one.
  public var cause: (any Error)? { details.cause }

  /// The same error with `prefix` and a colon before its message.
  public func prefixed(_ prefix: String) -> BlockError {
    BlockError(
      code, "\(prefix): \(message)", errno: details.errno, node: node, range: range, cause: cause)
  }

  /// The same error, said to have happened at `node`, unless a node below was named already.
  public func at(node name: String, _ range: ByteRange? = nil) -> BlockError {
    if details.node != nil { return self }
    return BlockError(
      code, message, errno: details.errno, node: name, range: self.range ?? range, cause: cause)
  }
}

extension BlockError: Equatable {
  /// Whether code and errno agree.
  public static func == (left: BlockError, right: BlockError) -> Bool {
    left.code == right.code && left.errno == right.errno
  }
}

extension BlockError: CustomStringConvertible {
  /// The message; with the node and the range where they are known.
  public var description: String {
    var text = message
    if let node { text += " (node '\(node)'" + (range.map { ", bytes \($0)" } ?? "") + ")" }
    return text
  }
}
