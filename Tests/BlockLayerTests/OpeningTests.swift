import BlockLayer
import DirtyBitmap
import Execution
import Primitives
import SystemPackage
import Testing

@Suite struct OpeningTests {
  let folder = TemporaryFolder()

  /// Opens `name` in the folder; the names of the open nodes' drivers, or the error.
  private func open(
    _ name: String, policy: OpenPolicy = .confined, format: String? = "overlay",
    _ also: @escaping @Sendable (BlockGraph, BlockNode) async throws -> Void = { _, _ in }
  ) async throws -> Result<[String], BlockError> {
    let path = folder.file(name)
    return try await simulated { world in
      let graph = BlockGraph(world: world, registry: .withOverlay, policy: policy)
      do throws(BlockError) {
        let node = try await graph.open(path, OpenOptions(format: format, nodeName: "top"))
        let names = graph.nodes.map(\.driver.driverName)
        do { try await also(graph, node) } catch { Issue.record(error) }
        try await graph.close(node)
        #expect(graph.nodes.isEmpty, "closing left nodes")
        return .success(names)
      } catch {
        #expect(graph.nodes.isEmpty, "a failed opening left nodes")
        return .failure(error)
      }
    }
  }

  private func message(_ result: Result<[String], BlockError>) -> String {
    switch result {
    case .success(let names): "opened \(names)"
    case .failure(let error): error.message
    }
  }

  @Test func anImageIsOpenedWithTheChainThatItNames() async throws {
    try folder.make("base", pattern(2048))
    try folder.make("middle", OverlayDriver.image(backing: "base", format: "raw"))
    try folder.make("top", OverlayDriver.image(backing: "./middle", format: "overlay"))
    let result = try await open("top") { (_, node) async throws in
      #expect(node.backing?.isReadOnly == true && !node.isReadOnly)
      #expect(try await node.bytes(1000, 10) == pattern(10, from: 1000))
      #expect(isZero(try await node.bytes(2048, 100)))
    }
    #expect(try result.get() == ["overlay", "overlay", "raw", "file", "file", "file"])
  }

  @Test func whatTheGateRefusesIsNotOpened() async throws {
    let outside = TemporaryFolder()
    try outside.make("secret", pattern(512))
    try folder.make("base", pattern(512))
    folder.link("escape", to: outside.file("secret").string)
    folder.link("inside", to: "base")
    _ = folder.folder("inner")
    try folder.make("inner/base", pattern(512))
    let refused = [
      outside.file("secret").string, "../secret", "inner/../../secret", "escape", "json:{}",
      "nbd://host/x", "fat:rw:/tmp", "file:/etc/passwd", "file:../secret", "file:",
      "\u{1b}[2Jx/../..",
    ]
    for name in refused {
      try folder.make("top", OverlayDriver.image(backing: name, format: "raw"))
      let text = message(try await open("top"))
      #expect(text.contains("not opened"), "\(name): \(text)")
      #expect(!text.contains("\u{1b}"))
    }
    for name in ["base", "./base", "inside", "inner/base", "file:base"] {
      try folder.make("top", OverlayDriver.image(backing: name, format: "raw"))
      let text = message(try await open("top"))
      #expect(text.hasPrefix("opened"), "\(name): \(text)")
    }
  }

  @Test func confinedWantsAFormatAndNeverProbes() async throws {
    try folder.make("base", OverlayDriver.image())
    try folder.make("top", OverlayDriver.image(backing: "base"))
    #expect(message(try await open("top")).contains("does not state its format"))
    let probed = message(try await open("top", format: nil))
    #expect(
      probed == "no format was given, and the open policy does not probe; say the format "
        + "(raw, overlay)")
  }

  @Test func permissiveFollowsAndProbesAsQEMUsToolsDo() async throws {
    let outside = TemporaryFolder()
    try outside.make("base", OverlayDriver.image())
    try folder.make("top", OverlayDriver.image(backing: outside.file("base").string))
    let result = try await open("top", policy: .permissive, format: nil)
    #expect(try result.get() == ["overlay", "overlay", "file", "file"])
    try folder.make("top", OverlayDriver.image(backing: "json:{}"))
    #expect(message(try await open("top", policy: .permissive)).contains("not opened"))
  }

  @Test func noneFollowsNothingAndTakesTheCallersNode() async throws {
    try folder.make("base", pattern(512))
    let path = try folder.make("top", OverlayDriver.image(backing: "base", format: "raw"))
    #expect(message(try await open("top", policy: .none)).contains("follows no names"))
    try await simulated { world in
      let graph = BlockGraph(world: world, registry: .withOverlay, policy: .none)
      let base = try graph.addNode(MemoryDriver(length: 512), name: "mine")
      var options = OpenOptions(format: "overlay", backing: .node(base))
      let node = try await graph.open(path, options)
      #expect(node.backing === base)
      try await graph.close(node)
      #expect(graph.nodes.map(\.name) == ["mine"], "a node that the caller named was closed")
      options.backing = .ignore
      let alone = try await graph.open(path, options)
      #expect(alone.backing == nil)
    }
  }

  @Test func aChainThatLeadsBackToItselfIsRefused() async throws {
    try folder.make("a", OverlayDriver.image(backing: "b", format: "overlay"))
    try folder.make("b", OverlayDriver.image(backing: "c", format: "overlay"))
    folder.link("c", to: "a")
    let text = message(try await open("a", policy: .permissive))
    #expect(text.hasSuffix("c' creates an infinite loop"))
    try folder.make("self", OverlayDriver.image(backing: "self", format: "overlay"))
    #expect(message(try await open("self")).hasSuffix("self' creates an infinite loop"))
  }

  @Test func aChainDeeperThanThePolicyAllowsIsRefused() async throws {
    for index in 0..<5 {
      try folder.make("\(index)", OverlayDriver.image(backing: "\(index + 1)", format: "overlay"))
    }
    try folder.make("5", OverlayDriver.image())
    var policy = OpenPolicy.permissive
    policy.maxDepth = 5
    #expect(message(try await open("0", policy: policy)).hasPrefix("opened"))
    policy.maxDepth = 4
    #expect(message(try await open("0", policy: policy)).contains("deeper than 4 images"))
  }

  @Test func aDiskLargerThanThePolicyAllowsIsRefusedAndNothingStaysOpen() async throws {
    try folder.make("top", OverlayDriver.image(backing: "base", format: "raw"))
    try folder.make("base", pattern(1024))
    var policy = OpenPolicy.permissive
    policy.maxVirtualSize = 4096
    #expect(message(try await open("top", policy: policy)).hasPrefix("opened"))
    policy.maxVirtualSize = 511
    #expect(message(try await open("top", policy: policy)).contains("the open policy allows 511"))
  }

  @Test func errorsOfABackingFileSayWhoseTheyAre() async throws {
    try folder.make("top", OverlayDriver.image(backing: "none", format: "raw"))
    let missing = folder.file("none")
    #expect(
      message(try await open("top"))
        == "Could not open backing file: Could not open '\(missing)': No such file or directory")
    try folder.make("top", OverlayDriver.image(backing: "base", format: "vdi"))
    try folder.make("base", [])
    #expect(message(try await open("top")).contains("Unknown driver 'vdi'"))
  }

  @Test func afterAFailureNothingStaysOpenNotEvenALock() async throws {
    try folder.make("base", pattern(512))
    try folder.make("top", OverlayDriver.image(backing: "base", format: "raw", broken: true))
    #expect(message(try await open("top")) == "the overlay is broken")
    for name in ["top", "base"] {
      let driver = try FileDriver.open(folder.file(name), OpenOptions(format: "file"))
      try await driver.close()
    }
  }

  /// While an opening goes on that fails, somebody else adds nodes.
  @Test func aFailedOpeningClosesOnlyItsOwn() async throws {
    let path = try folder.make("top", pattern(512))
    try await simulated { world in
      var registry = DriverRegistry.base
      registry.addFormat("slow") { file, context throws(BlockError) in
        for _ in 0..<20 { await context.graph.world.yield() }
        throw BlockError(.invalidImage, "too slow")
      }
      let graph = BlockGraph(world: world, registry: registry)
      let other = world.spawn {
        while graph.nodes.isEmpty { await world.yield() }
        do {
          let node = try graph.addNode(MemoryDriver(length: 512))
          try node.addBitmap("b", granularity: 512)
        } catch {
          Issue.record(error)
        }
      }
      let error = await failure { _ = try await graph.open(path, OpenOptions(format: "slow")) }
      #expect(error?.message == "too slow")
      await other.wait()
      #expect(graph.nodes.map(\.driver.driverName) == ["memory"])
      #expect(graph.nodes.first?.bitmaps.all.count == 1)
    }
  }

  /// Nodes of the caller's without a name, below an image whose opening fails at its end.
  @Test func aFailedOpeningLeavesTheCallersNodesOpen() async throws {
    try await simulated { world in
      var registry = DriverRegistry.base
      registry.addFormat("lossy") { file, context throws(BlockError) in
        guard case .node(let backing) = context.options.backing else {
          throw BlockError(.invalidArgument, "a toy wants a node")
        }
        return try LossyDriver(file, backing)
      }
      let graph = BlockGraph(world: world, registry: registry)
      let file = try graph.addNode(MemoryDriver(length: 512))
      let backing = try graph.addNode(MemoryDriver(length: 512))
      let options = OpenOptions(format: "lossy", backing: .node(backing))
      let error = await failure { _ = try await graph.open(file: file, options) }
      #expect(error?.message == "the bitmaps are lost")
      #expect(graph.nodes.map(\.name) == [backing.name, file.name])
      #expect(file.parentEdges.isEmpty && backing.parentEdges.isEmpty)
    }
  }

  @Test func whatCannotBeMadeIsRefusedBeforeAFileIsTouched() async throws {
    let path = try folder.make("old", pattern(512))
    try await simulated { world in
      let graph = BlockGraph(world: world, registry: .withOverlay)
      let error = await failure {
        try await graph.createImage(
          at: path, format: "raw", NewImage(length: -512), replacing: true)
      }
      #expect(error?.message == "Parameter 'size' expects a >0 size")
    }
    #expect(try folder.contents("old") == pattern(512))
  }

  @Test func aFileOpenedAsAFileHasTheNameThatWasAskedFor() async throws {
    try folder.make("f", pattern(512))
    let result = try await open("f", format: "file") { (_, node) async throws in
      #expect(node.name == "top")
    }
    #expect(try result.get() == ["file"])
  }
}

/// An image whose bitmaps cannot be read.
private final class LossyDriver: PersistentBitmapStore {
  private let edges: [BlockEdge]

  init(_ file: BlockNode, _ backing: BlockNode) throws(BlockError) {
    edges = [try BlockEdge(.file, to: file), try BlockEdge(.backing, to: backing)]
  }

  var driverName: String { "lossy" }
  var length: Int { 512 }
  var children: [BlockEdge] { edges }

  func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError) {}
  func write(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {}
  func status(_ range: ByteRange) async throws(BlockError) -> BlockStatus {
    BlockStatus(count: range.count)
  }

  func loadBitmaps() async throws(BlockError) -> [DirtyBitmap] {
    throw BlockError(.io, "the bitmaps are lost")
  }

  func checkStorable(
    name: String, granularity: Int, existing: [DirtyBitmap]
  ) throws(BlockError) {}
  func checkStorable(granularity: Int, length: Int) throws(BlockError) {}
  func storeBitmaps(_ bitmaps: [DirtyBitmap]) async throws(BlockError) {}
  func removeStoredBitmap(
    named name: String, keeping bitmaps: [DirtyBitmap]
  ) async throws(BlockError) {}
}
