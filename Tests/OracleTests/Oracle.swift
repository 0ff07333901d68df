import Foundation
import QEMUTools
import Testing

@testable import LaminaTool

/// The installed qemu tools, as black boxes, and our own tool beside them.
enum Oracle {
  typealias Answer = ChildProcess.Answer

  /// The long run: `make oracle`.
  static let isLong = ProcessInfo.processInfo.environment["LAMINA_ORACLE"] != nil

  /// Runs our tool in this process.
  static func lamina(_ words: [String]) -> Answer {
    let console = Console.captured()
    let status = Tool(console: console).run(words)
    let printed = console.printed
    return Answer(status: status, output: printed.output, errors: printed.errors)
  }

  /// A folder that is gone afterwards.
  static func withFolder<T>(_ body: (String) throws -> T) throws -> T {
    let folder = FileManager.default.temporaryDirectory.appending(
      path: "oracle-\(UUID())", directoryHint: .isDirectory)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    return try body(folder.path())
  }
}
