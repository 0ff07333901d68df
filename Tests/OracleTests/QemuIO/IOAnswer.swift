import Foundation
import QEMUTools

/// What a run of qemu-io says, with the times and rates put out.
struct IOAnswer: Equatable, CustomStringConvertible {
  var status: Int32
  var output: String
  var errors: String

  /// `isUnordered`: reports of requests under way come when the host has done them.
  init(_ answer: ChildProcess.Answer, isUnordered: Bool) {
    status = answer.status
    errors = answer.errors
    let lines = answer.output.split(separator: "\n", omittingEmptySubsequences: false)
      .map { Self.masked($0) }
    output = (isUnordered ? Self.sorted(lines) : lines).joined(separator: "\n")
  }

  /// Lines without prompts, which reports come between.
  private static func sorted(_ lines: [String]) -> [String] {
    if lines[0].hasPrefix("Usage:") { return lines }
    return lines.map { $0.replacingOccurrences(of: "qemu-io> ", with: "") }.sorted()
  }

  private static func masked(_ line: Substring) -> String {
    var line = String(line)
    // `1 ops; 00.00 sec (3 MiB/sec and 7 ops/sec)`, from a minute on without `sec`.
    line.replace(/1 ops; [0-9:.]+( sec)? \([0-9.]+ [a-zA-Z]+\/sec and [0-9.]+ ops\/sec\)/) { _ in
      "1 ops; (…)"
    }
    line.replace(/,1,[0-9:.]+,[0-9.]+,[0-9.]+$/) { _ in ",1,(…)" }
    return line
  }

  var description: String { "exit \(status)\n\(output)\n\(errors)" }
}
