internal import Foundation
internal import SystemPackage

/// Another program, started beside the runner, and what it took.
final class ChildProcess {
  /// The most memory that a program had at once, in bytes.
  ///
  /// The kernel counts what the runner itself had when it started the program too; a figure no
  /// larger than that says nothing.
  typealias PeakMemory = Int

  private let name: String
  private let identifier: pid_t
  private let input: FileHandle
  private let output: FileHandle

  /// Starts `words`: a program's path and its arguments.
  ///
  /// What it prints, errors too, is read by `wait` or `read(until:)`.
  init(_ words: [String]) throws {
    name = words.joined(separator: " ")
    let (toChild, fromChild) = (Pipe(), Pipe())
    (input, output) = (toChild.fileHandleForWriting, fromChild.fileHandleForReading)
    let ends = [toChild.fileHandleForReading, fromChild.fileHandleForWriting]
    for handle in [input, output] + ends { _ = fcntl(handle.fileDescriptor, F_SETFD, FD_CLOEXEC) }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for (number, end) in [ends[0], ends[1], ends[1]].enumerated() {
      posix_spawn_file_actions_adddup2(&actions, end.fileDescriptor, Int32(number))
    }
    var arguments = words.map { strdup($0) } + [nil]
    defer { for argument in arguments { free(argument) } }
    var process = pid_t()
    let result = posix_spawn(&process, words[0], &actions, nil, &arguments, environ)
    for end in ends { try end.close() }
    guard result == 0 else { throw RunnerError("\(words[0]): \(Errno(rawValue: result))") }
    identifier = process
  }

  /// Runs a program to its end; answers the most memory that it had.
  @discardableResult
  static func run(_ words: String...) throws -> PeakMemory { try ChildProcess(words).wait() }

  /// Writes to its standard input.
  func send(_ text: String) throws { try input.write(contentsOf: Data(text.utf8)) }

  /// Reads what it prints until `end` is in it.
  func read(until end: String) throws {
    var text = ""
    while !text.contains(end) {
      let more = output.availableData
      if more.isEmpty { throw RunnerError("\(name) ended too early: \(text)") }
      text += String(decoding: more, as: UTF8.self)
    }
  }

  /// Waits for its end; throws when it failed.
  func wait() throws -> PeakMemory {
    try input.close()
    let said = try output.readToEnd().map { String(decoding: $0, as: UTF8.self) } ?? ""
    try output.close()
    var status: Int32 = 0
    var usage = rusage()
    while wait4(identifier, &status, 0, &usage) < 0 {
      guard errno == EINTR else { throw RunnerError("cannot wait for \(name)") }
    }
    guard status == 0 else { throw RunnerError("\(name) failed: \(said)") }
    #if os(Linux)
    return Int(usage.ru_maxrss) << 10
    #else
    return Int(usage.ru_maxrss)
    #endif
  }

  /// Where a program is; nil where it is not installed.
  static func path(of name: String) -> String? {
    let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
    return folders.map { "\($0)/\(name)" }.first {
      FileManager.default.isExecutableFile(atPath: $0)
    }
  }
}
