import SystemPackage

#if canImport(Glibc)
import Glibc
#endif

/// A qemu-io that waits for commands on its standard input, and so holds its image open.
final class QEMUProcess {
  private let process: pid_t
  private let input: FileDescriptor
  private let output: FileDescriptor

  /// Where qemu-io is; nil where there is none.
  static var path: String? {
    guard let path = getenv("PATH") else { return nil }
    return String(cString: path).split(separator: ":").map { "\($0)/qemu-io" }
      .first { access($0, X_OK) == 0 }
  }

  /// Starts qemu-io with these arguments; nil where it is not installed.
  init?(_ arguments: [String]) throws {
    guard let path = Self.path else { return nil }
    let (inputEnd, input) = try FileDescriptor.pipe()
    let (output, outputEnd) = try FileDescriptor.pipe()
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, inputEnd.rawValue, 0)
    posix_spawn_file_actions_adddup2(&actions, outputEnd.rawValue, 1)
    posix_spawn_file_actions_adddup2(&actions, outputEnd.rawValue, 2)
    for end in [input, output, inputEnd, outputEnd] {
      posix_spawn_file_actions_addclose(&actions, end.rawValue)
    }
    var words = ([path] + arguments).map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var process = pid_t()
    let result = posix_spawn(&process, path, &actions, nil, &words, environ)
    try inputEnd.close()
    try outputEnd.close()
    self.process = process
    self.input = input
    self.output = output
    guard result == 0 else { throw Errno(rawValue: result) }
  }

  var identifier: Int32 { process }

  /// Sends a command and returns what is printed up to `end`, or to the end of the output.
  func run(_ command: String, until end: String) throws -> String {
    try input.writeAll((command + "\n").utf8)
    var text = ""
    while !text.contains(end), let more = try read() { text += more }
    return text
  }

  /// Ends it and returns what it still had to say.
  @discardableResult
  func finish() throws -> String {
    try input.close()
    var text = ""
    while let more = try read() { text += more }
    try output.close()
    var status: Int32 = 0
    waitpid(process, &status, 0)
    return text
  }

  private func read() throws -> String? {
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = try bytes.withUnsafeMutableBytes { try output.read(into: $0) }
    return count == 0 ? nil : String(decoding: bytes.prefix(count), as: UTF8.self)
  }
}
