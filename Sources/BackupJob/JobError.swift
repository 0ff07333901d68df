public import BlockLayer
internal import DirtyBitmap

/// Why a job command was refused, or a job failed.
///
/// Equality looks at the code and the message. Messages are those of QEMU's monitor where it has
/// one for the case, word for word.
public struct JobError: Error, Sendable, CustomStringConvertible {
  /// The kind of a failure.
  ///
  /// New kinds may be added.
  public struct Code: Hashable, Sendable, CustomStringConvertible {
    /// The kind's name.
    public let description: String

    /// There is no job of that name.
    public static let notFound = Code(description: "not found")
    /// A job's name is ill-formed or taken.
    public static let identifier = Code(description: "identifier")
    /// An argument, or a combination of arguments, is wrong.
    public static let invalidArgument = Code(description: "invalid argument")
    /// The job's state does not admit the command.
    public static let wrongState = Code(description: "wrong state")
    /// Another job uses the node.
    public static let busy = Code(description: "busy")
    /// The block layer refused or failed; `block` is its error.
    public static let block = Code(description: "block")
    /// A dirty bitmap refused; `cause` is its error.
    public static let bitmap = Code(description: "bitmap")
    /// A transaction's `abort` did what it is for.
    public static let aborted = Code(description: "aborted")
    /// The job was cancelled.
    public static let cancelled = Code(description: "cancelled")
  }

  /// The kind of the failure.
  public let code: Code
  /// What is wrong, in one line.
  public let message: String
  /// The error below this one.
  public let cause: (any Error)?

  /// Makes an error.
  public init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
    self.code = code
    self.message = message
    self.cause = cause
  }

  /// The block layer's error below this one, with its node, range and errno.
  public var block: BlockError? { cause as? BlockError }

  /// The message.
  public var description: String { message }
}

extension JobError: Equatable {
  /// Whether codes and messages agree.
  public static func == (left: JobError, right: JobError) -> Bool {
    left.code == right.code && left.message == right.message
  }
}

extension JobError {
  /// The block layer's error as it is.
  static func block(_ error: BlockError) -> JobError {
    JobError(.block, error.message, cause: error)
  }

  /// The bitmap's error as it is.
  static func bitmap(_ error: BitmapError) -> JobError {
    JobError(.bitmap, error.message, cause: error)
  }

  /// What a job that failed with an I/O error says of it: the text of the errno, as guests and
  /// events have it.
  static func failed(_ error: BlockError) -> JobError {
    JobError(.block, "\(error.errno)", cause: error)
  }

  /// What a job that was cancelled says.
  static let cancelled = JobError(.cancelled, "Operation canceled")

  static func refused(_ verb: JobVerb, _ job: String, _ status: JobStatus) -> JobError {
    JobError(
      .wrongState,
      "Job '\(job)' in state '\(status.rawValue)' cannot accept command verb '\(verb.rawValue)'")
  }
}
