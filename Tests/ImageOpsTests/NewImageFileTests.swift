import BlockLayer
import Execution
import Foundation
import ImageOps
import Lamina
import Primitives
import Qcow2
import SystemPackage
import Testing

/// Conversions to new files, and chains in files.
@Suite struct NewImageFileTests {
  private func inFolder(
    _ body: @Sendable @escaping (_ folder: FilePath, _ graph: BlockGraph) async throws -> Void
  ) async throws {
    let folder = FileManager.default.temporaryDirectory.appending(
      path: "imageops-\(UUID())", directoryHint: .isDirectory)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let path = FilePath(folder.path())
    let world = World.threaded()
    try await world.run {
      try await body(path, BlockGraph(world: world, policy: .permissive))
    }
  }

  private func exists(_ path: FilePath) -> Bool {
    FileManager.default.fileExists(atPath: path.string)
  }

  @Test func aConversionMakesItsFile() async throws {
    try await inFolder { folder, graph in
      let source = try graph.addNode(MemoryDriver(length: 1 << 20))
      let bytes = [UInt8](repeating: 7, count: 70_000)
      try await source.write(ByteRange(5000, 75_000), from: bytes.span.bytes)
      let path = folder.appending("a.qcow2")
      try await graph.convert([source], to: path, format: "qcow2")
      let copy = try await graph.open(path, OpenOptions(format: "qcow2", readOnly: true))
      let result = try await ImageComparison().compare(source, copy)
      #expect(result == .identical)
      try await graph.close(copy)
      await #expect(throws: BlockError(.alreadyExists, "", errno: .fileExists)) {
        try await graph.convert([source], to: path, format: "qcow2")
      }
      #expect(exists(path))
      try await graph.convert([source], to: path, format: "raw", replacing: true)
      #expect(try Data(contentsOf: URL(filePath: path.string)).count == 1 << 20)
    }
  }

  @Test func aConversionThatFailsLeavesNoFile() async throws {
    try await inFolder { folder, graph in
      let source = try graph.addNode(MemoryDriver(length: 1 << 20))
      let path = folder.appending("a.qcow2")
      let conversion = ImageConversion(WorkOptions { _, _ in false })
      await #expect(throws: BlockError(.cancelled, "")) {
        try await graph.convert([source], to: path, format: "qcow2", nil, conversion)
      }
      #expect(!exists(path))
      await #expect(throws: BlockError(.unsupported, "")) {
        try await graph.convert(
          [source], to: path, format: "raw",
          NewImage(length: 512, backing: RecordedBacking(name: "x", format: "raw")))
      }
      #expect(!exists(path))
    }
  }

  @Test func aChainIsOpenedSoThatItCanBeCommitted() async throws {
    try await inFolder { folder, graph in
      let base = folder.appending("base.raw")
      try await graph.createImage(at: base, format: "raw", NewImage(length: 1 << 20))
      var below = RecordedBacking(name: "base.raw", format: "raw")
      for name in ["middle", "top"] {
        try await graph.createImage(
          at: folder.appending(name), format: "qcow2", NewImage(length: 1 << 20, backing: below))
        below = RecordedBacking(name: name, format: "qcow2")
      }
      let path = folder.appending("top")
      let options = OpenOptions(format: "qcow2")
      let next = try await graph.openForCommit(path, options)
      #expect(next.isNext && next.base.hostPath?.lastComponent == "middle")
      #expect(!next.top.isReadOnly && !next.base.isReadOnly)
      try await graph.close(next.top)
      try await graph.close(next.base)
      let deep = try await graph.openForCommit(path, options) { name, _ in name == "base.raw" }
      #expect(!deep.isNext && deep.base.hostPath == base)
      #expect(deep.top.backing?.isReadOnly == true)
      try await graph.close(deep.top)
      try await graph.close(deep.base)
      #expect(graph.nodes.isEmpty)
      await #expect(throws: BlockError(.notFound, "")) {
        _ = try await graph.openForCommit(path, options) { _, _ in false }
      }
      await #expect(throws: BlockError(.notFound, "")) {
        _ = try await graph.openForCommit(base, OpenOptions(format: "raw"))
      }
      #expect(graph.nodes.isEmpty)
    }
  }
}
