import Foundation
import Lamina
import Testing

/// The README's example is compiled, runs, and stands in the README as it is compiled.
@Suite struct ReadmeTests {
  private static let root = URL(filePath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  @Test func theExampleCopiesTheDiskAndKnowsWhatChangedSince() async throws {
    let folder = FileManager.default.temporaryDirectory
      .appending(path: "lamina-readme-\(ProcessInfo.processInfo.processIdentifier)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let changed = try await readmeExample(in: folder.path())
    #expect(changed == [ByteRange(3 << 20, (3 << 20) + 131_072)])
  }

  @Test func theReadmeShowsTheExampleThatIsCompiled() throws {
    let source = try String(
      contentsOf: Self.root.appending(path: "Tests/LaminaTests/ReadmeExample.swift"),
      encoding: .utf8)
    let readme = try String(
      contentsOf: Self.root.appending(path: "README.md"), encoding: .utf8)
    let compiled = Self.lines(source, after: "// example:begin", before: "// example:end")
    let shown = Self.lines(readme, after: "```swift", before: "```")
    #expect(compiled.count >= 15)
    #expect(shown == compiled)
  }

  /// The lines between two marks, without the indentation of the first.
  private static func lines(_ text: String, after: String, before: String) -> [String] {
    let lines = text.components(separatedBy: "\n")
    let trimmed = { (line: String) in line.trimmingCharacters(in: .whitespaces) }
    guard let first = lines.firstIndex(where: { trimmed($0) == after }) else { return [] }
    let rest = lines[(first + 1)...].prefix { trimmed($0) != before }
    let indentation = rest.first?.prefix { $0 == " " }.count ?? 0
    return rest.map { String($0.dropFirst(indentation)) }
  }
}
