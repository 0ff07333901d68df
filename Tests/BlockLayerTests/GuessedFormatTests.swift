import BlockLayer
import Execution
import Primitives
import SystemPackage
import Testing

#if canImport(Glibc)
import Glibc
#endif

/// Images whose format nobody stated: raw ones stay raw.
@Suite struct GuessedFormatTests {
  private static let magic = Array("OVERLAY".utf8)

  /// A guest's requests on a raw disk in memory, guessed or stated.
  private func withDisk(
    guessed: Bool, beginning head: [UInt8] = [],
    _ body: @escaping @Sendable (BlockNode, MemoryDriver) async throws -> Void
  ) async throws {
    try await simulated { world in
      let graph = BlockGraph(world: world, registry: .withOverlay, policy: .permissive)
      let disk = MemoryDriver(length: 4096)
      if !head.isEmpty { try await disk.write(head, at: 0) }
      let file = try graph.addNode(disk, options: NodeOptions(discard: .unmap))
      let node = try await graph.open(
        file: file, OpenOptions(format: guessed ? nil : "raw", discard: .unmap))
      #expect(node.driver.driverName == "raw")
      try await body(node, disk)
      try await graph.close(node)
    }
  }

  @Test func aGuessedRawDiskCannotBeMadeAnotherFormat() async throws {
    try await withDisk(guessed: true) { node, disk in
      for bytes in [Self.magic, Self.magic + pattern(505), Self.magic + pattern(4000)] {
        let error = await failure { try await node.write(bytes, at: 0) }
        #expect(error?.errno == .notPermitted && error?.code == .refused)
        #expect(isZero(try await disk.bytes(0, 4096)))
      }
      try await node.write(Self.magic, at: 1)
      try await node.write(Self.magic, at: 512)
      try await node.write(pattern(4096), at: 0)
    }
  }

  @Test func norByPartsThatAreHarmlessOneByOne() async throws {
    try await withDisk(guessed: true) { node, disk in
      try await node.write(Array(Self.magic[3...]), at: 3)
      let error = await failure { try await node.write(Array(Self.magic[..<3]), at: 0) }
      #expect(error?.errno == .notPermitted)
      // Two at once, neither of which knows of the other.
      try await disk.write([UInt8](repeating: 0, count: 16), at: 0)
      try await withThrowingTaskGroup(of: Bool.self) { group in
        for part in [0..<3, 3..<7] {
          group.addTask {
            do { try await node.write(Array(Self.magic[part]), at: part.lowerBound) } catch {
              return false
            }
            return true
          }
        }
        var done = 0
        for try await succeeded in group where succeeded { done += 1 }
        #expect(done == 1)
      }
      #expect(try await disk.bytes(0, 7) != Self.magic)
    }
  }

  @Test func norByZeros() async throws {
    // A toy that is told by a zero in its place.
    var registry = DriverRegistry.base
    registry.addFormat("gap", recognises: { $0.toArray()[0...2] == [7, 0, 7] }) {
      file, _ throws(BlockError) in try RawDriver(file: file)
    }
    try await simulated { [registry] world in
      let graph = BlockGraph(world: world, registry: registry, policy: .permissive)
      let disk = MemoryDriver(length: 4096)
      try await disk.write([7, 7, 7], at: 0)
      let file = try graph.addNode(disk, options: NodeOptions(discard: .unmap))
      let node = try await graph.open(file: file, OpenOptions(format: nil, discard: .unmap))
      let zeroing = await failure { try await node.writeZeroes(ByteRange(1, 2)) }
      #expect(zeroing?.errno == .notPermitted)
      let discarding = await failure { try await node.discard(ByteRange(1, 2)) }
      #expect(discarding?.errno == .notPermitted)
      #expect(try await disk.bytes(0, 3) == [7, 7, 7])
      try await node.writeZeroes(ByteRange(0, 512))
    }
  }

  @Test func aStatedRawDiskMayHoldAnything() async throws {
    try await withDisk(guessed: false) { node, disk in
      try await node.write(Self.magic, at: 0)
      #expect(try await disk.bytes(0, 7) == Self.magic)
    }
  }

  // MARK: - Files that are none

  @Test func confinedPoliciesOpenNeitherPipesNorDevices() async throws {
    let folder = TemporaryFolder()
    mkfifo(folder.file("pipe").string, 0o600)
    _ = folder.folder("folder")
    for name in ["pipe", "folder"] {
      let top = try folder.make("top", OverlayDriver.image(backing: name, format: "raw"))
      try await simulated { world in
        let graph = BlockGraph(world: world, registry: .withOverlay)
        let error = await failure {
          _ = try await graph.open(top, OpenOptions(format: "overlay"))
        }
        #expect(error?.message.contains("regular file") == true, "\(error as Any)")
        #expect(graph.nodes.isEmpty)
      }
    }
    var options = OpenOptions(format: "file", readOnly: true)
    options.isRegularFileOnly = true
    let device = await failure { _ = try FileDriver.open("/dev/null", options) }
    #expect(device?.code == .invalidArgument)
  }
}
