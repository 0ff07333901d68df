import BlockLayer
import BlockTestKit
import Execution
import ImageOps
import Lamina
import Primitives
import Qcow2
import Testing

/// Conversions between random chains and images.
@Suite struct ConversionTests {
  @Test(arguments: 0..<30)
  func aCopyShowsWhatItsSourcesShow(seed: Int) async throws {
    let lab = ChainLab(seed: UInt64(seed))
    try await lab.world.run {
      var random = lab.world.makeRandom("conversion")
      var sources = [try await lab.randomChain(&random)]
      if seed % 5 == 0 { sources.append(try await lab.randomChain(&random)) }
      let length = sources.reduce(0) { $0 + $1.length }
      var conversion = randomConversion(seed, &random)
      let target: BlockNode
      switch seed % 3 {
      case 0: target = try lab.disk(length: length)
      case 1:
        target = try await lab.image(length: length, clusterSize: lab.randomClusterSize(&random))
      default:
        // One that is in use already: all of it must be overwritten.
        target = try await lab.image(length: length, clusterSize: lab.randomClusterSize(&random))
        try await lab.scribble(target, count: 8, &random)
        conversion.targetIsZero = false
      }
      let unreadable = try await conversion.run(from: sources, to: target)
      #expect(unreadable.byteCount == 0)
      var expected: [UInt8] = []
      for source in sources { expected += try await lab.contents(source) }
      let difference = try await lab.contents(target).firstDifference(from: expected)
      #expect(difference == nil, "seed \(seed)")
      #expect(try await lab.findings(target) == [], "seed \(seed)")
    }
  }

  private func randomConversion(
    _ seed: Int, _ random: inout SeededGenerator
  ) -> ImageConversion {
    var conversion = ImageConversion()
    conversion.keepsOrder = Bool.random(using: &random)
    conversion.sparseSize = [0, 512, 4096, 65536].randomElement(using: &random) ?? 0
    conversion.options.workerCount = Int.random(in: 1...8, using: &random)
    conversion.options.bufferByteCount = [4096, 65536, 1 << 20].randomElement(using: &random) ?? 0
    return conversion
  }

  @Test(arguments: 0..<24)
  func aCopyOnABackingFileHasOnlyWhatThatLacks(seed: Int) async throws {
    let lab = ChainLab(seed: UInt64(seed))
    try await lab.world.run {
      var random = lab.world.makeRandom("conversion")
      let base = try await lab.randomChain(&random)
      let clusterSize = lab.randomClusterSize(&random)
      let source = try await lab.image(
        length: lab.randomLength(&random), clusterSize: clusterSize, backing: base)
      try await lab.scribble(source, count: 4, &random)
      let target = try await lab.image(
        length: source.length, clusterSize: clusterSize, backing: base)
      var conversion = randomConversion(seed, &random)
      if conversion.sparseSize == 0 { conversion.sparseSize = 4096 }
      conversion.backing = seed % 2 == 0 ? .layer(base) : .contents(base)
      try await conversion.run(from: [source], to: target)
      let expected = try await lab.contents(source)
      let difference = try await lab.contents(target).firstDifference(from: expected)
      #expect(difference == nil, "seed \(seed)")
      let allocated = try await lab.allocatedBytes(target)
      #expect(allocated <= (try await lab.allocatedBytes(source)), "seed \(seed)")
      #expect(try await lab.findings(target) == [], "seed \(seed)")
    }
  }

  @Test func blocksOfZerosInDataTakeNoSpace() async throws {
    let lab = ChainLab(seed: 1)
    try await lab.world.run {
      let source = try lab.disk(length: 1 << 20)
      for offset in stride(from: 0, to: 1 << 20, by: 128 << 10) {
        try await lab.write(source, ByteRange(offset: offset, count: 4096))
        let zeros = [UInt8](repeating: 0, count: 60 << 10)
        try await source.write(
          ByteRange(offset: offset + 4096, count: zeros.count), from: zeros.span.bytes)
      }
      let target = try await lab.image(length: 1 << 20, clusterSize: 4096)
      try await ImageConversion().run(from: [source], to: target)
      #expect(try await lab.allocatedBytes(target) == 8 * 4096)
      #expect(try await lab.contents(target) == (try await lab.contents(source)))
    }
  }

  @Test func aTargetThatIsTooShortIsRefused() async throws {
    let lab = ChainLab(seed: 1)
    try await lab.world.run {
      let target = try lab.disk(length: 512)
      let source = try lab.disk(length: 1024)
      await #expect(throws: BlockError(.invalidArgument, "")) {
        try await ImageConversion().run(from: [source], to: target)
      }
    }
  }

  @Test func progressGrowsAndEndsWithTheWhole() async throws {
    let lab = ChainLab(seed: 3)
    try await lab.world.run {
      let source = try lab.disk(length: 5 << 20)
      try await lab.write(source, ByteRange(0, 5 << 20))
      let target = try lab.disk(length: 5 << 20)
      let seen = Seen()
      var conversion = ImageConversion(WorkOptions { seen.take($0, $1) })
      conversion.options.bufferByteCount = 1 << 18
      try await conversion.run(from: [source], to: target)
      #expect(seen.values == seen.values.sorted())
      #expect(seen.values.last == 5 << 20)
      #expect(seen.values.count > 10)
    }
  }

  @Test(arguments: [false, true])
  func aProgressThatSaysNoEndsTheWork(keepsOrder: Bool) async throws {
    for limit in 0..<12 {
      let lab = ChainLab(seed: UInt64(limit))
      try await lab.world.run {
        let source = try lab.disk(length: 5 << 20)
        try await lab.write(source, ByteRange(0, 5 << 20))
        let target = try lab.disk(length: 5 << 20)
        let seen = Seen(limit: limit)
        var conversion = ImageConversion(WorkOptions { seen.take($0, $1) })
        conversion.options.bufferByteCount = 1 << 18
        conversion.keepsOrder = keepsOrder
        await #expect(throws: BlockError(.cancelled, "")) {
          try await conversion.run(from: [source], to: target)
        }
      }
    }
  }

  @Test func aRateIsKept() async throws {
    let lab = ChainLab(seed: 3)
    try await lab.world.run {
      let source = try lab.disk(length: 4 << 20)
      try await lab.write(source, ByteRange(0, 4 << 20))
      let target = try lab.disk(length: 4 << 20)
      var conversion = ImageConversion()
      conversion.options.bytesPerSecond = 1 << 20
      let start = lab.world.now
      try await conversion.run(from: [source], to: target)
      let seconds = Double(lab.world.now.nanoseconds - start.nanoseconds) / 1e9
      #expect((2.9...4.1).contains(seconds), "\(seconds)")
    }
  }
}
