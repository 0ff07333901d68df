import BlockLayer
import DirtyBitmap
import Execution
import Primitives
import SystemPackage
import Testing

@Suite struct NodeBitmapsTests {
  /// A disk of 64 MiB with a bitmap of 64 KiB granules, and a guest's door to it.
  private struct Disk {
    let world: World
    let graph: BlockGraph
    let driver: StrictDriver
    let node: BlockNode
    let door: BlockBackend
    let bitmap: DirtyBitmap

    init(
      _ world: World, length: Int = 64 << 20, options: NodeOptions = NodeOptions(),
      limits: BlockLimits = BlockLimits(), disabled: Bool = false
    ) throws(BlockError) {
      self.world = world
      graph = BlockGraph(world: world, registry: .base)
      driver = StrictDriver(world, length: length, limits: limits)
      node = try graph.addNode(driver, name: "disk", options: options)
      door = try BlockBackend(node, in: graph)
      bitmap = try node.addBitmap("b", granularity: 65_536, disabled: disabled)
    }
  }

  private func onDisk(
    options: NodeOptions = NodeOptions(), limits: BlockLimits = BlockLimits(),
    disabled: Bool = false, _ body: @escaping @Sendable (Disk) async throws -> Void
  ) async throws {
    try await simulated { world in
      try await body(Disk(world, options: options, limits: limits, disabled: disabled))
    }
  }

  @Test(arguments: [(0, 65_536), (512, 4096), (1024, 4096), (65_536, 65_536), (1 << 21, 65_536)])
  func scenarioB01DefaultGranularity(clusterSize: Int, expected: Int) async throws {
    try await onDisk(limits: BlockLimits(clusterSize: clusterSize)) { disk in
      #expect(try disk.node.addBitmap("default").granularity == expected)
      let filter = try disk.graph.addNode(BlkdebugDriver(image: disk.node))
      #expect(try filter.addBitmap("above").granularity == expected, "a filter has its child's")
    }
  }

  @Test func scenarioB05AWriteOverABorderSetsBothGranules() async throws {
    try await onDisk { disk in
      try await disk.door.write([1, 2], at: 65_535)
      #expect(disk.bitmap.count == 131_072)
      try await disk.door.fill(1, at: 32_736 << 10, count: 64 << 10)
      #expect(disk.bitmap.count == 262_144)
    }
  }

  @Test func scenarioB06WhatChangesNothingSetsNothing() async throws {
    try await onDisk { disk in
      _ = try await disk.door.read(at: 0, count: 65_536)
      try await disk.door.flush()
      try await disk.door.write([], at: 512)
      _ = try await disk.node.chainStatus(ByteRange(0, 512))
      let error = await failure { try await disk.door.write([1, 2], at: (64 << 20) - 1) }
      #expect(error?.code == .outOfRange)
      let below = await failure { try await disk.node.write([1, 2], at: (64 << 20) - 1) }
      #expect(below?.code == .outOfRange)
      #expect(disk.bitmap.count == 0)
    }
  }

  @Test func scenarioB07DiscardsCountWhereTheyAreNotIgnored() async throws {
    try await onDisk { disk in
      try await disk.door.discard(ByteRange(0, 65_536))
      #expect(disk.bitmap.count == 0 && disk.driver.notes.isEmpty)
    }
    let limits = BlockLimits(discardAlignment: 65_536)
    try await onDisk(options: NodeOptions(discard: .unmap), limits: limits) { disk in
      try await disk.door.discard(ByteRange(0, 65_536))
      #expect(disk.bitmap.count == 65_536)
      try await disk.door.discard(ByteRange(200_000, 200_100))
      #expect(disk.bitmap.count == 131_072, "a part that does nothing counts too")
      #expect(disk.driver.notes == ["discard 0+65536"])
    }
  }

  @Test func scenarioB08ZeroesCountInEveryForm() async throws {
    try await onDisk(options: NodeOptions(discard: .unmap, detectZeroes: .unmap)) { disk in
      try await disk.door.writeZeroes(ByteRange(0, 512))
      #expect(disk.bitmap.count == 65_536)
      try await disk.door.writeZeroes(ByteRange(65_536, 66_000), mayUnmap: true)
      #expect(disk.bitmap.count == 131_072)
      try await disk.door.fill(0, at: 131_072, count: 512)
      #expect(disk.bitmap.count == 196_608)
    }
  }

  @Test func scenarioB09AWriteThatFailsBelowCounts() async throws {
    try await onDisk(options: NodeOptions(discard: .unmap)) { disk in
      disk.driver.fail(.host(.noSpace, "full"))
      let errors = [
        await failure { try await disk.door.write([1], at: 0) },
        await failure { try await disk.door.writeZeroes(ByteRange(65_536, 65_537)) },
        await failure { try await disk.door.discard(ByteRange(131_072, 131_073)) },
      ]
      for error in errors { #expect(error?.errno == .noSpace) }
      #expect(disk.bitmap.runs == [ByteRange(0, 196_608)])
    }
  }

  @Test func aWriteThatFailsAboveTheNodeDoesNotCount() async throws {
    try await onDisk { disk in
      let rules = BlkdebugRules(injectErrors: [.init(event: .none)])
      let filter = try disk.graph.addNode(BlkdebugDriver(image: disk.node, rules: rules))
      let above = try filter.addBitmap("above", granularity: 65_536)
      try await disk.graph.insert(filter: filter, above: disk.node)
      let error = await failure { try await disk.door.write([1], at: 0) }
      #expect(error?.errno == .ioError)
      #expect(disk.bitmap.count == 0 && above.count == 65_536)
    }
  }

  @Test func scenarioB10CountsAreWholeGranulesOfAShortDisk() async throws {
    try await simulated { world in
      let graph = BlockGraph(world: world, registry: .base)
      let node = try graph.addNode(MemoryDriver(length: 100_352))
      let expected = [512: 100_352, 4096: 102_400, 65_536: 131_072, 1 << 31: 1 << 31]
      for granularity in expected.keys {
        try node.addBitmap("\(granularity)", granularity: granularity)
      }
      try await node.write(pattern(100_352), at: 0)
      for (granularity, count) in expected {
        #expect(try node.bitmaps.named("\(granularity)").count == count)
      }
    }
  }

  @Test func scenarioB11ADisabledBitmapSeesNothingUntilItIsEnabled() async throws {
    try await onDisk(disabled: true) { disk in
      try await disk.door.write([1], at: 0)
      #expect(disk.bitmap.count == 0)
      try disk.bitmap.enable()
      try await disk.door.write([1], at: 65_536)
      #expect(disk.bitmap.runs == [ByteRange(65_536, 131_072)])
    }
  }

  @Test func scenarioB20ShrinkingKeepsAPartialGranule() async throws {
    let expected = [65_536: 1_114_112, 4096: 1_052_672, 512: 1_049_088, 1 << 31: 1 << 31]
    try await simulated { world in
      let disk = try Disk(world, length: 2 << 20)
      for granularity in expected.keys {
        try disk.node.addBitmap("\(granularity)", granularity: granularity)
      }
      try await disk.door.fill(1, at: 0, count: 2 << 20)
      try await disk.door.resize(to: (1 << 20) + 512, mayShrink: true)
      for (granularity, count) in expected {
        let bitmap = try disk.node.bitmaps.named("\(granularity)")
        #expect(bitmap.count == count && bitmap.size == (1 << 20) + 512)
      }
    }
  }

  @Test func scenarioB21BitsThatWereCutOffDoNotComeBack() async throws {
    try await onDisk { disk in
      try await disk.door.fill(1, at: 0, count: 1 << 20)
      try await disk.door.resize(to: 0, mayShrink: true)
      #expect(disk.bitmap.count == 0)
      try await disk.door.resize(to: 64 << 20)
      #expect(disk.bitmap.count == 0 && disk.bitmap.size == 64 << 20)
      try await disk.door.write([1], at: (64 << 20) - 1)
      #expect(disk.bitmap.count == 65_536)
    }
  }

  @Test func aResizeThatFailsLosesNoBit() async throws {
    try await onDisk { disk in
      try await disk.door.fill(1, at: 63 << 20, count: 1 << 20)
      disk.driver.fail(BlockError(.io, "no"))
      let error = await failure { try await disk.door.resize(to: 1 << 20, mayShrink: true) }
      #expect(error?.code == .io)
      #expect(disk.bitmap.count == 1 << 20 && disk.bitmap.size == 64 << 20)
    }
  }

  @Test func aBitmapInUseForbidsResizing() async throws {
    try await onDisk { disk in
      try disk.bitmap.setBusy(true)
      let error = await failure { try await disk.door.resize(to: 1 << 20, mayShrink: true) }
      #expect(error?.code == .bitmap)
      #expect(disk.door.length == 64 << 20 && disk.door.permissions == .writer)
      try disk.bitmap.setBusy(false)
      try await disk.door.resize(to: 1 << 20, mayShrink: true)
    }
  }

  @Test func aWriteThatMakesTheNodeLongerMakesItsBitmapsLonger() async throws {
    try await simulated { world in
      let graph = BlockGraph(world: world, registry: .base)
      let node = try graph.addNode(MemoryDriver(length: 1000, growsOnWrite: true))
      let bitmap = try node.addBitmap("b", granularity: 512)
      try await node.write(pattern(10), at: 5000)
      #expect(bitmap.size == 5010)
      #expect(bitmap.runs == [ByteRange(4608, 5010)])
    }
  }

  @Test func aPaddedWriteCountsWithItsWholeBlocks() async throws {
    try await simulated { world in
      let disk = try Disk(world, limits: BlockLimits(requestAlignment: 4096))
      let bitmap = try disk.node.addBitmap("fine", granularity: 512)
      try await disk.door.write([1], at: 5000)
      #expect(bitmap.runs == [ByteRange(4096, 8192)])
    }
  }

  @Test func addingIsRefusedInQEMUsWordsAndOrder() async throws {
    try await onDisk { disk in
      func add(_ name: String, granularity: Int? = nil, persistent: Bool = false) async -> String? {
        await failure {
          try disk.node.addBitmap(name, granularity: granularity, persistent: persistent)
        }?.message
      }
      #expect(await add("", granularity: 3) == "Bitmap name cannot be empty")
      for granularity in [0, 1, 256, 511, 513, 64_000] {
        #expect(
          await add("b", granularity: granularity)
            == "Granularity must be power of 2 and at least 512")
      }
      #expect(
        await add("b", persistent: true)
          == "Can't store persistent bitmaps to disk: Operation not supported")
      #expect(await add("b") == "Bitmap already exists: b")
      let long = String(repeating: "x", count: 1024)
      #expect(await add(long) == "Bitmap name too long: \(long)")
      try disk.node.addBitmap(String(repeating: "€", count: 341))
      #expect(await add(String(repeating: "€", count: 342))?.hasPrefix("Bitmap name too") == true)
      try disk.node.addBitmap("a b")
      #expect(disk.node.bitmaps.all.map { $0.name?.count } == [3, 341, 1], "newest first")
      let missing = await failure { try await disk.node.removeBitmap("none") }
      #expect(missing?.message == "Dirty bitmap 'none' not found")
      try await disk.node.removeBitmap("a b")
      #expect(disk.node.bitmaps.find("a b") == nil)
    }
  }

  @Test func aReadOnlyBitmapForbidsWritesItCouldNotRecord() async throws {
    try await onDisk { disk in
      disk.bitmap.setReadOnly(true)
      disk.node.bitmaps.recount()
      let error = await failure { try await disk.door.write([1], at: 0) }
      #expect(error?.errno == .notPermitted && disk.driver.notes.isEmpty)
      disk.bitmap.setReadOnly(false)
      disk.node.bitmaps.recount()
      try await disk.door.write([1], at: 0)
    }
  }

  /// Scenario B26.
  @Test func aBackingNodesBitmapSeesNothingOfItsOverlay() async throws {
    try await onDisk { disk in
      let overlay = try disk.graph.addNode(OverlayDriver(length: 4096, over: disk.node))
      try await overlay.write(pattern(512), at: 0)
      #expect(disk.bitmap.count == 0)
    }
  }
}
