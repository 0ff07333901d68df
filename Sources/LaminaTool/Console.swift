internal import BlockLayer
internal import Synchronization
internal import SystemPackage

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// Where a command prints to: the process's streams, or memory in tests.
final class Console: Sendable {
  private enum Sink: Sendable {
    case descriptor(Int32)
    case memory
  }
  private let output: Sink
  private let errors: Sink
  private let captured = Mutex((output: "", errors: ""))
  /// Standard input's lines; nil at its end.
  let readLine: @Sendable () -> String?
  /// Whether errors go to a terminal, where a progress line may be redrawn.
  let showsProgress: Bool
  /// Whether output goes to a terminal, where a picture is of use.
  let isTerminal: Bool

  /// The process's own streams.
  static var standard: Console {
    Console(
      output: .descriptor(1), errors: .descriptor(2), readLine: { Swift.readLine() },
      showsProgress: isatty(2) == 1, isTerminal: isatty(1) == 1)
  }

  /// Memory; `input` is what standard input holds.
  static func captured(input: [String] = []) -> Console {
    let lines = Mutex(input[...])
    return Console(
      output: .memory, errors: .memory, readLine: { lines.withLock { $0.popFirst() } },
      showsProgress: false, isTerminal: false)
  }

  private init(
    output: Sink, errors: Sink, readLine: @escaping @Sendable () -> String?,
    showsProgress: Bool, isTerminal: Bool
  ) {
    self.output = output
    self.errors = errors
    self.readLine = readLine
    self.showsProgress = showsProgress
    self.isTerminal = isTerminal
  }

  /// What was printed to memory.
  var printed: (output: String, errors: String) { captured.withLock { $0 } }

  /// Prints lines to standard output; control characters, which may come out of an image and steer
  /// a terminal, are shown as hexadecimal.
  func print(_ line: String = "") { write(Console.printable(line) + "\n") }

  /// Prints to standard output as it is.
  func write(_ text: String) {
    switch output {
    case .memory: captured.withLock { $0.output += text }
    case .descriptor(let descriptor): Console.write(text, to: descriptor)
    }
  }

  /// Prints lines to standard error, in the same way.
  func complain(_ line: String) { writeError(Console.printable(line) + "\n") }

  private static func printable(_ lines: String) -> String {
    let isPlain = lines.utf8.allSatisfy { (0x20..<0x7f).contains($0) }
    if isPlain { return lines }
    return lines.split(separator: "\n", omittingEmptySubsequences: false)
      .map { line in
        line.split(separator: "\t", omittingEmptySubsequences: false)
          .map { OpenPolicy.printable(String($0)) }.joined(separator: "\t")
      }
      .joined(separator: "\n")
  }

  /// Prints to standard error as it is.
  func writeError(_ text: String) {
    switch errors {
    case .memory: captured.withLock { $0.errors += text }
    case .descriptor(let descriptor): Console.write(text, to: descriptor)
    }
  }

  /// Ends the process.
  func exit(_ status: Int32) -> Never {
    #if canImport(Glibc)
    Glibc.exit(status)
    #elseif canImport(Musl)
    Musl.exit(status)
    #elseif canImport(Darwin)
    Darwin.exit(status)
    #endif
  }

  /// The width of the terminal in columns; 80 where there is none.
  var width: Int {
    var size = winsize()
    guard ioctl(1, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
    return Int(size.ws_col)
  }

  private static func write(_ text: String, to descriptor: Int32) {
    // A closed pipe: nobody reads on, and there is nobody to tell.
    _ = try? FileDescriptor(rawValue: descriptor).writeAll(Array(text.utf8))
  }
}

/// Why a command ended: what it says, and the process's exit status.
struct ToolFailure: Error {
  private(set) var message: String
  var status: Int32 = 1
  /// Whether a hint at `--help` follows.
  var hintsAtHelp = false
  /// A last line that is not ended, as qemu-img prints some.
  var bareHint: String?

  /// What the C library says of a wrong option.
  var libraryMessage: String?

  /// The same failure with what it is about in front.
  func prefixed(_ text: String) -> ToolFailure {
    var failure = self
    failure.message = "\(text): \(message)"
    return failure
  }

  /// A wrong call: the message, and where to find help.
  static func usage(_ message: String, library: String? = nil) -> ToolFailure {
    ToolFailure(message: message, hintsAtHelp: true, libraryMessage: library)
  }
}
