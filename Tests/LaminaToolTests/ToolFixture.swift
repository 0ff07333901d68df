import Foundation
import Synchronization
import Testing

@testable import LaminaTool

/// A folder for images that is gone afterwards, and the tool.
struct ToolFixture {
  let folder: String

  /// Runs `body` with a folder of its own.
  static func run(_ body: (ToolFixture) throws -> Void) throws {
    let folder = FileManager.default.temporaryDirectory
      .appending(path: "lamina-tool-\(UUID())", directoryHint: .isDirectory)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    try body(ToolFixture(folder: folder.path()))
  }

  /// The path of a file of the folder.
  func path(_ name: String) -> String { folder + name }

  /// Runs the tool.
  @discardableResult
  func lamina(_ words: String...) -> (status: Int32, output: String, errors: String) {
    lamina(words)
  }

  func lamina(_ words: [String]) -> (status: Int32, output: String, errors: String) {
    let console = Console.captured()
    let status = Tool(console: console).run(words)
    return (status, console.printed.output, console.printed.errors)
  }

  /// Runs the tool, and `meanwhile` once it has made the file `landmark`.
  func run(
    until landmark: String, _ words: [String], meanwhile: () -> Void
  ) -> (status: Int32, output: String, errors: String) {
    let console = Console.captured()
    let status = Mutex<Int32?>(nil)
    let ended = DispatchSemaphore(value: 0)
    Thread.detachNewThread {
      let result = Tool(console: console).run(words)
      status.withLock { $0 = result }
      ended.signal()
    }
    while !FileManager.default.fileExists(atPath: landmark), status.withLock({ $0 == nil }) {
      usleep(1000)
    }
    meanwhile()
    ended.wait()
    return (status.withLock { $0 ?? -1 }, console.printed.output, console.printed.errors)
  }

  /// The bytes of a file.
  func bytes(_ name: String) throws -> Data { try Data(contentsOf: URL(filePath: path(name))) }

  /// Overwrites bytes of a file.
  func patch(_ name: String, at offset: Int, _ bytes: [UInt8]) throws {
    var data = try self.bytes(name)
    data.replaceSubrange(offset..<offset + bytes.count, with: bytes)
    try data.write(to: URL(filePath: path(name)))
  }

  /// Checks that a call fails with so many lines on standard error that have `text`, and that no
  /// file of the folder is changed, new or gone.
  func expectRefusal(
    _ text: String, lines: Int = 1, _ words: String...,
    sourceLocation: SourceLocation = #_sourceLocation
  )
    throws
  {
    let before = try contents()
    let console = Console.captured()
    let status = Tool(console: console).run(words)
    let errors = console.printed.errors
    #expect(status != 0, "\(words)", sourceLocation: sourceLocation)
    #expect(errors.contains(text), "\(errors)", sourceLocation: sourceLocation)
    #expect(
      errors.split(separator: "\n").count == lines, "lines: \(errors)",
      sourceLocation: sourceLocation)
    #expect(try contents() == before, "a file changed", sourceLocation: sourceLocation)
  }

  private func contents() throws -> [String: Data] {
    var contents: [String: Data] = [:]
    for name in try FileManager.default.contentsOfDirectory(atPath: folder) {
      contents[name] = try? bytes(name)
    }
    return contents
  }
}
