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

  @Test func anUploadIsImportedOrRefusedWithReasons() async throws {
    let folder = FileManager.default.temporaryDirectory
      .appending(path: "lamina-importing-\(ProcessInfo.processInfo.processIdentifier)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let upload = folder.path() + "/upload.qcow2"
    let world = World.threaded()
    try await world.run { () async throws in
      let graph = BlockGraph(world: world)
      try await graph.createQcow2(at: upload, size: 1 << 20)
      let disk = try await graph.openDisk(upload)
      try await disk.fill(7, at: 4096, count: 4096)
      try await graph.closeDisk(disk)
    }
    #expect(try await importUpload(upload, to: folder.path() + "/disk.raw") == [])
    let raw = try Data(contentsOf: folder.appending(path: "disk.raw"))
    #expect(raw.count == 1 << 20 && raw[4096..<8192].allSatisfy { $0 == 7 })
    var bytes = try Data(contentsOf: folder.appending(path: "upload.qcow2"))
    bytes[79] = 2  // marked corrupt
    try bytes.write(to: folder.appending(path: "upload.qcow2"))
    #expect(
      try await importUpload(upload, to: folder.path() + "/other.raw")
        == ["the image is marked corrupt"])
  }

  @Test(arguments: [
    ("README.md", "ReadmeExample.swift"), ("docs/Importing.md", "ImportingExample.swift"),
  ])
  func thePageShowsTheExampleThatIsCompiled(page: String, example: String) throws {
    let source = try String(
      contentsOf: Self.root.appending(path: "Tests/LaminaTests/\(example)"), encoding: .utf8)
    let readme = try String(contentsOf: Self.root.appending(path: page), encoding: .utf8)
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
