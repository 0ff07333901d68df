#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// Ends the process because of a programmer's mistake, after writing `message` to standard error.
///
/// `preconditionFailure` says nothing in release builds, and these messages name the seed that
/// brings a failure back: so the message is written first.
internal func trap(_ message: String) -> Never {
  var line = "Lamina: " + message + "\n"
  line.withUTF8 { bytes in
    _ = write(STDERR_FILENO, bytes.baseAddress, bytes.count)
  }
  preconditionFailure(message)
}
