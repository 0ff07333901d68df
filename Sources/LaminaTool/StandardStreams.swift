#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// The process's standard input, output and errors.
enum StandardStreams {
  /// Sees to it that they are no danger to the work.
  ///
  /// One that the caller has closed leads to nowhere from now on: else the next file that is
  /// opened, an image, would get its number, and what is printed would be written into it. And who
  /// reads our output may go away: that ends no work on an image.
  static func secure() {
    for descriptor: Int32 in 0...2 where fcntl(descriptor, F_GETFD) == -1 {
      // The lowest free number is this one.
      _ = open("/dev/null", O_RDWR)
    }
    signal(SIGPIPE, SIG_IGN)
  }
}
