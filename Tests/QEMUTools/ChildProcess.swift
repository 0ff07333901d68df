import SystemPackage

#if canImport(Glibc)
import func CLinux.pipe2
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

/// Another program, run beside the tests: the one way in which they start one.
///
/// The pipes close on exec. Were one of them inherited by another test's program, whose end waits
/// for this one's, neither would ever see the end of its input.
package final class ChildProcess {
  /// What a program said, and how it ended: its exit status, or 128 and the signal's number.
  package struct Answer: Equatable {
    package var status: Int32
    package var output: String
    package var errors: String

    package init(status: Int32, output: String, errors: String) {
      (self.status, self.output, self.errors) = (status, output, errors)
    }
  }

  package let identifier: Int32
  private let input: FileDescriptor
  private let output: FileDescriptor
  private let errors: FileDescriptor

  /// Starts the program at `path`.
  package init(_ path: String, _ arguments: [String]) throws {
    let (inputEnd, input) = try Self.pipe()
    let (output, outputEnd) = try Self.pipe()
    let (errors, errorsEnd) = try Self.pipe()
    defer { for end in [inputEnd, outputEnd, errorsEnd] { try? end.close() } }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for (number, end) in [inputEnd, outputEnd, errorsEnd].enumerated() {
      posix_spawn_file_actions_adddup2(&actions, end.rawValue, Int32(number))
    }
    Self.ignoresBrokenPipes
    // The threads of a test block signals, and a child has what its parent's thread has.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    var words = ([path] + arguments).map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var process = pid_t()
    let result = posix_spawn(&process, path, &actions, &attributes, &words, environ)
    guard result == 0 else {
      for end in [input, output, errors] { try end.close() }
      throw Errno(rawValue: result)
    }
    identifier = process
    (self.input, self.output, self.errors) = (input, output, errors)
  }

  /// Writes to its standard input.
  ///
  /// A program that has ended reads nothing; its answer says why.
  package func send(_ text: String) throws {
    do {
      _ = try input.writeAll(text.utf8)
    } catch Errno.brokenPipe {}
  }

  /// What it prints up to `end`, or to the end of its output.
  package func read(until end: String) throws -> String {
    var text = ""
    while !text.contains(end), let more = try Self.read(output) {
      text += String(decoding: more, as: UTF8.self)
    }
    return text
  }

  /// Closes its standard input, and waits for it to end; answers what it still had to say.
  @discardableResult
  package func finish() throws -> Answer {
    try input.close()
    var said: [[UInt8]] = [[], []]
    var waiting = [output, errors].map {
      pollfd(fd: $0.rawValue, events: Int16(POLLIN), revents: 0)
    }
    while waiting.contains(where: { $0.fd >= 0 }) {
      guard poll(&waiting, nfds_t(waiting.count), -1) >= 0 else {
        if errno == EINTR { continue }
        throw Errno(rawValue: errno)
      }
      for (index, end) in [output, errors].enumerated() where waiting[index].revents != 0 {
        if let more = try Self.read(end) { said[index] += more } else { waiting[index].fd = -1 }
      }
    }
    try output.close()
    try errors.close()
    var status: Int32 = 0
    while waitpid(identifier, &status, 0) < 0 {
      guard errno == EINTR else { throw Errno(rawValue: errno) }
    }
    return Answer(
      status: status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f,
      output: String(decoding: said[0], as: UTF8.self),
      errors: String(decoding: said[1], as: UTF8.self))
  }

  /// Sends it a signal.
  package func interrupt(with number: Int32) { kill(identifier, number) }

  /// Writing to a program that has ended is an error, not the end of the tests.
  private static let ignoresBrokenPipes: Void = { _ = signal(SIGPIPE, SIG_IGN) }()

  private static func read(_ end: FileDescriptor) throws -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: 65536)
    let count = try bytes.withUnsafeMutableBytes { try end.read(into: $0) }
    return count == 0 ? nil : Array(bytes.prefix(count))
  }

  private static func pipe() throws -> (reading: FileDescriptor, writing: FileDescriptor) {
    var ends: [Int32] = [0, 0]
    #if os(Linux)
    guard pipe2(&ends, O_CLOEXEC) == 0 else { throw Errno(rawValue: errno) }
    #else
    guard Darwin.pipe(&ends) == 0 else { throw Errno(rawValue: errno) }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    #endif
    return (FileDescriptor(rawValue: ends[0]), FileDescriptor(rawValue: ends[1]))
  }
}
