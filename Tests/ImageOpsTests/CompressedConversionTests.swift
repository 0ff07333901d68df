import BlockLayer
import Execution
import ImageOps
import Primitives
import Testing

/// Conversions to compressed clusters.
@Suite struct CompressedConversionTests {
  @Test func clustersAreWrittenWholeAndZerosNotAtAll() async throws {
    let lab = ChainLab(seed: 1)
    try await lab.world.run {
      let source = try lab.disk(length: 10 * 65536 + 512)
      try await lab.write(source, ByteRange(65536 + 4096, 65536 + 8192))
      try await lab.write(source, ByteRange(3 * 65536 - 512, 3 * 65536 + 512))
      try await lab.write(source, ByteRange(10 * 65536, 10 * 65536 + 512))
      let zeros = [UInt8](repeating: 0, count: 65536)
      try await source.write(ByteRange(offset: 5 * 65536, count: 65536), from: zeros.span.bytes)
      let driver = StubCompressor(length: source.length)
      let target = try lab.graph.addNode(driver)
      var conversion = ImageConversion()
      conversion.isCompressed = true
      try await conversion.run(from: [source], to: target)
      #expect(try await lab.contents(target) == (try await lab.contents(source)))
      let clusters = Set(
        driver.compressed.flatMap {
          $0.lower / 65536..<$0.upper.dividedRoundingUp(by: 65536)
        })
      #expect(clusters == [1, 2, 3, 10])
      for range in driver.compressed {
        #expect(range.lower % 65536 == 0)
        #expect(range.upper % 65536 == 0 || range.upper == source.length)
      }
    }
  }

  @Test(arguments: 0..<10)
  func severalSourcesMeetInOneCluster(seed: Int) async throws {
    let lab = ChainLab(seed: UInt64(seed))
    try await lab.world.run {
      var random = lab.world.makeRandom("sources")
      let sources = [
        try await lab.randomChain(&random), try await lab.randomChain(&random),
        try await lab.randomChain(&random),
      ]
      let driver = StubCompressor(length: sources.reduce(0) { $0 + $1.length })
      let target = try lab.graph.addNode(driver)
      var conversion = ImageConversion()
      conversion.isCompressed = true
      conversion.keepsOrder = Bool.random(using: &random)
      conversion.options.bufferByteCount = 65536
      try await conversion.run(from: sources, to: target)
      var expected: [UInt8] = []
      for source in sources { expected += try await lab.contents(source) }
      #expect(try await lab.contents(target).firstDifference(from: expected) == nil)
    }
  }

  @Test func aTargetThatCannotCompressIsRefused() async throws {
    let lab = ChainLab(seed: 1)
    try await lab.world.run {
      let disk = try lab.disk(length: 512)
      var conversion = ImageConversion()
      conversion.isCompressed = true
      let error = await #expect(throws: BlockError.self) {
        try await conversion.run(from: [disk], to: try lab.disk(length: 512))
      }
      #expect(error?.message == "Compression not supported for this file format")
    }
  }
}
