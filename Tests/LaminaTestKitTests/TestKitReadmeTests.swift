import Foundation
import Testing

/// The example of the module's README is compiled, runs, and stands there as it is compiled.
@Suite struct TestKitReadmeTests {
  private static let root = URL(filePath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  @Test func theExampleRunsWithAnySeed() async throws {
    for seed: UInt64 in 1...5 { try await testKitReadmeExample(seed: seed) }
  }

  @Test func theReadmeShowsTheExampleThatIsCompiled() throws {
    let source = try String(
      contentsOf: Self.root.appending(path: "Tests/LaminaTestKitTests/ReadmeExample.swift"),
      encoding: .utf8)
    let readme = try String(
      contentsOf: Self.root.appending(path: "Sources/LaminaTestKit/README.md"), encoding: .utf8)
    let compiled = Self.lines(source, after: "// example:begin", before: "// example:end")
    let shown = Self.lines(readme, after: "```swift", before: "```")
    #expect(compiled.count >= 10)
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
