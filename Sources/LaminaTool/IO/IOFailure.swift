internal import BlockLayer
internal import SystemPackage

/// Why a command of qemu-io failed, and where that is said.
///
/// Later commands still run; the exit status is 1 in the end.
enum IOFailure: Error {
  /// A line on standard output, where qemu-io says most of it.
  case said(String)
  /// A line on standard error.
  case complained(String)
  /// A line on standard error that begins with the tool's name.
  case reported(String)
  /// The command's own line of help, on standard output.
  case usage
  /// Nothing: all is said.
  case silent

  /// The verdict on a request: its name, and the host's word for the error.
  static func request(_ name: String, _ error: BlockError) -> IOFailure {
    .said("\(name) failed: \(error.asHostSays)")
  }
}

extension BlockError {
  /// The error as the host's library words it: all that qemu-io says of a request.
  var asHostSays: String {
    // The guard of an image that was guessed to be raw.
    if code == .refused { return "\(Errno.notPermitted)" }
    return "\(errno)"
  }

  /// Whether the host's word alone would hide what a user has to do.
  var needsExplanation: Bool { [.corrupt, .poisoned, .refused].contains(code) }
}
