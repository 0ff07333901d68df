import BlockLayer
import Execution
import Primitives
import Testing

@Suite struct RequestPathTests {
  /// Limits of every kind, for disks whose length is no multiple of anything.
  static let shapes: [BlockLimits] = [
    BlockLimits(),
    BlockLimits(requestAlignment: 512),
    BlockLimits(requestAlignment: 4096, maxTransfer: 4096),
    BlockLimits(requestAlignment: 512, maxTransfer: 2048, maxWriteZeroes: 1536),
    BlockLimits(requestAlignment: 1, maxTransfer: 777, zeroesAlignment: 4096),
    BlockLimits(
      requestAlignment: 512, maxWriteZeroes: 12_288, zeroesAlignment: 4096, discardAlignment: 1024,
      maxDiscard: 2048),
    BlockLimits(requestAlignment: 1024, maxTransfer: 2048, growsOnWrite: true),
  ]

  @Test(arguments: shapes.indices, [true, false])
  func whateverTheDriverTakesTheNodeIsAnArrayOfBytes(shape: Int, zeroes: Bool) async throws {
    for seed in 0..<6 as Range<UInt64> {
      try await simulated(seed: seed) { world in
        var random = SeededGenerator(seed: seed &* 31 &+ UInt64(shape))
        let limits = Self.shapes[shape]
        let driver = StrictDriver(world, length: 20_001, limits: limits, zeroes: zeroes)
        let graph = BlockGraph(world: world, registry: .base)
        let options = NodeOptions(discard: .unmap)
        let node = try graph.addNode(driver, options: options)
        var model = [UInt8](repeating: 0, count: 20_001)
        for step in 0..<80 {
          try await self.step(node, &model, &random, "shape \(shape), seed \(seed), step \(step)")
        }
        #expect(same(try await node.bytes(0, node.length), model), "shape \(shape), seed \(seed)")
      }
    }
  }

  private func step(
    _ node: BlockNode, _ model: inout [UInt8], _ random: inout SeededGenerator, _ where: Comment
  ) async throws {
    let growth = node.driver.limits.growsOnWrite ? 3000 : 0
    let lower = Int.random(in: 0..<model.count, using: &random)
    let most = model.count + growth - lower
    let count = min(
      most, Int.random(in: 0..<(Bool.random(using: &random) ? 600 : 9000), using: &random))
    let range = ByteRange(offset: lower, count: count)
    func store(_ bytes: [UInt8]) {
      if range.upper > model.count, !range.isEmpty {
        model += [UInt8](repeating: 0, count: range.upper - model.count)
      }
      if !range.isEmpty { model.replaceSubrange(lower..<range.upper, with: bytes) }
    }
    switch Int.random(in: 0..<8, using: &random) {
    case 0...2:
      let bytes = pattern(count, from: Int.random(in: 0..<9999, using: &random))
      store(bytes)
      try await node.write(bytes, at: lower)
    case 3, 4:
      store([UInt8](repeating: 0, count: count))
      try await node.writeZeroes(range, mayUnmap: Bool.random(using: &random))
    case 5:
      // What a discard leaves is not told; here zeros in whole units, or the old bytes.
      let inside = range.intersection(ByteRange(0, max(model.count, lower)))
      try await node.discard(inside)
      guard !inside.isEmpty else { return }
      let now = try await node.bytes(lower, inside.count)
      for (index, byte) in now.enumerated() {
        if byte != 0 { #expect(byte == model[lower + index], `where`) }
        model[lower + index] = byte
      }
    default:
      let read = try await node.bytes(lower, count)
      let expected = model.dropFirst(lower).prefix(count)
      #expect(same(read.prefix(expected.count), expected), `where`)
      #expect(isZero(read.dropFirst(expected.count)), `where`)
    }
  }

  @Test(arguments: 0..<20)
  func writesBesideEachOtherInOneBlockLoseNothing(seed: UInt64) async throws {
    try await simulated(seed: seed) { world in
      let limits = BlockLimits(requestAlignment: 4096)
      let driver = StrictDriver(world, length: 16_384, limits: limits)
      let node = try BlockGraph(world: world, registry: .base).addNode(driver)
      // Parts of blocks, a block and a half, whole blocks, zeroes: all at once, none overlapping.
      let ranges = [(0, 100), (100, 900), (1000, 5000), (6000, 2192), (8192, 4096), (12_288, 4096)]
      await withTaskGroup { group in
        for (index, (offset, count)) in ranges.enumerated() {
          group.addTask {
            do {
              if index == 5 {
                try await node.writeZeroes(ByteRange(offset: offset, count: count))
              } else {
                try await node.write([UInt8](repeating: UInt8(index + 1), count: count), at: offset)
              }
            } catch { Issue.record("\(error), seed \(seed)") }
          }
        }
      }
      for (index, (offset, count)) in ranges.enumerated() {
        let byte = index == 5 ? 0 : UInt8(index + 1)
        let expected = [UInt8](repeating: byte, count: count)
        #expect(same(try await node.bytes(offset, count), expected), "seed \(seed), range \(index)")
      }
    }
  }

  @Test(arguments: 0..<20)
  func aWholeBlockWrittenDuringAPaddedWriteIsNotUndone(seed: UInt64) async throws {
    try await simulated(seed: seed) { world in
      let driver = StrictDriver(world, length: 4096, limits: BlockLimits(requestAlignment: 4096))
      let node = try BlockGraph(world: world, registry: .base).addNode(driver)
      async let padded: Void = node.write([1], at: 0)
      async let whole: Void = node.write([UInt8](repeating: 2, count: 4096), at: 0)
      _ = try await (padded, whole)
      #expect(
        isZero(try await node.bytes(1, 4095).map { $0 ^ 2 }), "old bytes came back, seed \(seed)")
    }
  }

  @Test func beyondTheEndReadsAreZerosAndWritesAreRefused() async throws {
    try await simulated { world in
      let graph = BlockGraph(world: world, registry: .base)
      let node = try graph.addNode(MemoryDriver(length: 1000))
      try await node.write(pattern(1000), at: 0)
      #expect(
        try await node.bytes(990, 20) == pattern(10, from: 990) + [UInt8](repeating: 0, count: 10))
      #expect(isZero(try await node.bytes(5000, 20)))
      let error = await failure { try await node.write(pattern(20), at: 990) }
      #expect(error?.code == .outOfRange)
      #expect(try await node.bytes(990, 10) == pattern(10, from: 990))
    }
  }

  @Test func aReadOnlyNodeRefusesEveryChange() async throws {
    try await simulated { world in
      let graph = BlockGraph(world: world, registry: .base)
      let options = NodeOptions(isReadOnly: true, discard: .unmap)
      let node = try graph.addNode(MemoryDriver(length: 1000), options: options)
      let range = ByteRange(0, 512)
      let errors = [
        await failure { try await node.write(pattern(512), at: 0) },
        await failure { try await node.writeZeroes(range) },
        await failure { try await node.discard(range) },
        await failure { try await node.resize(to: 0) },
      ]
      for error in errors { #expect(error?.code == .readOnly) }
      try await node.flush()
    }
  }

  @Test func writtenZerosBecomeZeroesWhereTheyAreDetected() async throws {
    let zeros = [UInt8](repeating: 0, count: 4096)
    let cases: [(NodeOptions, String)] = [
      (NodeOptions(), "write 0+4096"),
      (NodeOptions(detectZeroes: .on), "zero 0+4096"),
      (NodeOptions(discard: .unmap, detectZeroes: .on), "zero 0+4096"),
      (NodeOptions(detectZeroes: .unmap), "zero 0+4096"),
      (NodeOptions(discard: .unmap, detectZeroes: .unmap), "unmap 0+4096"),
    ]
    for (options, expected) in cases {
      try await simulated { world in
        let driver = StrictDriver(world, length: 4096)
        let graph = BlockGraph(world: world, registry: .base)
        let node = try graph.addNode(driver, options: options)
        try await node.write(zeros, at: 0)
        #expect(driver.notes == [expected])
      }
    }
  }

  @Test func zeroesAndDiscardsAreCutAtTheDriversUnits() async throws {
    try await simulated { world in
      let limits = BlockLimits(
        requestAlignment: 512, maxWriteZeroes: 8192, zeroesAlignment: 4096, discardAlignment: 4096,
        maxDiscard: 8192)
      let driver = StrictDriver(world, length: 30_000, limits: limits)
      let graph = BlockGraph(world: world, registry: .base)
      let node = try graph.addNode(driver, options: NodeOptions(discard: .unmap))
      try await node.writeZeroes(ByteRange(1024, 25_600))
      #expect(
        driver.notes == [
          "zero 1024+3072", "zero 4096+8192", "zero 12288+8192", "zero 20480+4096",
          "zero 24576+1024",
        ])
      driver.log.clear()
      try await node.discard(ByteRange(1024, 30_000))
      #expect(
        driver.notes == [
          "discard 4096+8192", "discard 12288+8192", "discard 20480+8192",
          "discard 28672+1328",
        ])
    }
  }

  @Test func aFlushReachesTheHostOnlyIfSomethingWasWritten() async throws {
    try await simulated { world in
      let graph = BlockGraph(world: world, registry: .base)
      let driver = StrictDriver(world, length: 4096)
      let file = try graph.addNode(driver)
      let node = try graph.addNode(RawDriver(file: file))
      try await node.flush()
      #expect(driver.notes == [])
      try await node.write(pattern(10), at: 0)
      try await node.flush()
      try await node.flush()
      #expect(driver.notes == ["write 0+10", "sync"])
    }
  }

  @Test func forcedUnitAccessMakesAWriteDurable() async throws {
    try await simulated { world in
      let graph = BlockGraph(world: world, registry: .base)
      let driver = StrictDriver(world, length: 4096)
      let file = try graph.addNode(driver)
      let node = try graph.addNode(RawDriver(file: file))
      for node in [file, node] {
        try await node.write(pattern(10), at: 0)
        try await node.write(
          ByteRange(0, 10), from: pattern(10).span.bytes, forceUnitAccess: true)
        try await node.writeZeroes(ByteRange(0, 10), forceUnitAccess: true)
        #expect(
          driver.notes == ["write 0+10", "write 0+10", "sync", "zero 0+10", "sync"])
        driver.log.clear()
      }
    }
  }

  @Test func zeroesThatMayNotFallBackAreRefusedWhereDataWouldBeWritten() async throws {
    try await simulated { world in
      let graph = BlockGraph(world: world, registry: .base)
      let driver = StrictDriver(world, length: 4096, zeroes: false)
      let node = try graph.addNode(driver)
      let error = await failure {
        try await node.writeZeroes(ByteRange(0, 512), mayFallBack: false)
      }
      #expect(error?.code == .unsupported)
      #expect(driver.notes == [])
      try await node.writeZeroes(ByteRange(0, 512))
      #expect(driver.notes == ["write 0+512"])
    }
  }

  @Test func afterAFailedFlushTheNodeOnlyReads() async throws {
    try await simulated { world in
      let graph = BlockGraph(world: world, registry: .base)
      let driver = StrictDriver(world, length: 4096)
      let file = try graph.addNode(driver)
      let node = try graph.addNode(RawDriver(file: file))
      try await node.write(pattern(10), at: 0)
      driver.fail(BlockError(.io, "no"))
      let error = await failure { try await node.flush() }
      #expect(error?.code == .io && error?.node == file.name)
      // The host may have dropped what was written: that it goes well now means nothing.
      driver.fail(nil)
      #expect(await failure { try await node.flush() }?.code == .poisoned)
      #expect(await failure { try await node.write(pattern(10), at: 0) }?.code == .poisoned)
      _ = try await node.bytes(0, 10)
      #expect(driver.notes == ["write 0+10", "sync", "read 0+10"])
    }
  }

  @Test func anErrorNamesTheNodeAndTheBytes() async throws {
    try await simulated { world in
      let graph = BlockGraph(world: world, registry: .base)
      let driver = StrictDriver(world, length: 4096)
      let file = try graph.addNode(driver, name: "disk")
      let node = try graph.addNode(RawDriver(file: file, offset: 512))
      driver.fail(BlockError(.io, "gone"))
      let error = await failure { try await node.write(pattern(10), at: 0) }
      #expect(error?.description == "gone (node 'disk', bytes 0x200..<0x20a)")
    }
  }
}
