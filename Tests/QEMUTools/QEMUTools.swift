#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

/// The installed qemu tools, as black boxes: a second opinion that the suite does without where
/// they are absent.
package enum QEMUTools {
  /// Whether `qemu-img` and `qemu-io` are there; where they are not, tests that ask them are
  /// skipped and say so.
  package static let areInstalled = path(of: "qemu-img") != nil && path(of: "qemu-io") != nil

  /// Whether a whole machine can be run.
  package static let hasSystem = path(of: "qemu-system-x86_64") != nil

  /// What a skipped test says.
  package static let absence = "qemu-img and qemu-io are not installed"

  /// A tool is not installed.
  package struct Missing: Error {
    package let tool: String
  }

  /// Where a tool is; nil where it is not.
  package static func path(of tool: String) -> String? {
    guard let path = getenv("PATH") else { return nil }
    return String(cString: path).split(separator: ":").map { "\($0)/\(tool)" }
      .first { access($0, X_OK) == 0 }
  }

  /// Starts a tool that goes on until its input ends.
  package static func start(_ tool: String, _ arguments: [String]) throws -> ChildProcess {
    guard let path = path(of: tool) else { throw Missing(tool: tool) }
    return try ChildProcess(path, arguments)
  }

  /// Runs a tool to its end.
  @discardableResult
  package static func run(_ tool: String, _ arguments: [String], input: String = "") throws
    -> ChildProcess.Answer
  {
    let process = try start(tool, arguments)
    try process.send(input)
    return try process.finish()
  }
}
