import Foundation
import Testing

@testable import LaminaTool

/// The installed qemu tools, as black boxes, and our own tool beside them.
enum Oracle {
  /// What a command said, and how it ended.
  struct Answer: Equatable {
    var status: Int32
    var output: String
    var errors: String
  }

  /// Whether qemu's tools are there; where they are not, the tests are skipped and say so.
  static let isInstalled = ["qemu-img", "qemu-io"].allSatisfy { find($0) != nil }

  /// Whether a whole machine can be run.
  static let hasSystem = find("qemu-system-x86_64") != nil

  /// The long run: `make oracle`.
  static let isLong = ProcessInfo.processInfo.environment["LAMINA_ORACLE"] != nil

  static func find(_ name: String) -> String? {
    let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin"
    return path.split(separator: ":").map { "\($0)/\(name)" }.first {
      FileManager.default.isExecutableFile(atPath: $0)
    }
  }

  /// Runs one of qemu's tools.
  static func run(_ name: String, _ words: [String], input: String? = nil) throws -> Answer {
    let process = Process()
    process.executableURL = URL(filePath: try #require(find(name)))
    process.arguments = words
    let output = Pipe()
    let errors = Pipe()
    let feed = Pipe()
    process.standardOutput = output
    process.standardError = errors
    process.standardInput = feed
    try process.run()
    if let input { try feed.fileHandleForWriting.write(contentsOf: Data(input.utf8)) }
    try feed.fileHandleForWriting.close()
    let printed = output.fileHandleForReading.readDataToEndOfFile()
    let complained = errors.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return Answer(
      status: process.terminationStatus, output: String(decoding: printed, as: UTF8.self),
      errors: String(decoding: complained, as: UTF8.self))
  }

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
