import BlockLayer
import Execution
import ImageOps
import Lamina
import Qcow2
import Testing

/// The figures of qemu-img's `measure`.
@Suite struct MeasureTests {
  static let figures:
    [(size: Int, change: @Sendable (inout NewImageOptions) -> Void, required: Int, full: Int)] = [
      (1 << 30, { _ in }, 393216, 1_074_135_040),
      (1 << 30, { $0.clusterSize = 512 }, 21_385_216, 1_095_127_040),
      (1 << 30, { $0.clusterSize = 2 << 20 }, 10_485_760, 1_084_227_584),
      (1 << 30, { $0.refcountBits = 64 }, 524288, 1_074_266_112),
      (1 << 30, { $0.hasExtendedL2 = true }, 524288, 1_074_266_112),
      (100 << 40, { _ in }, 16_779_902_976, 109_967_942_680_576),
      (1, { _ in }, 327680, 393216),
      (0, { _ in }, 196608, 196608),
      (1 << 30, { $0.preallocation = .metadata }, 393216, 1_074_135_040),
      (1 << 30, { $0.preallocation = .falloc }, 1_074_135_040, 1_074_135_040),
      (1 << 30, { $0.preallocation = .full }, 1_074_135_040, 1_074_135_040),
    ]

  @Test(arguments: 0..<11)
  func anEmptyDiskTakesWhatQEMUSays(index: Int) throws {
    let figure = Self.figures[index]
    var options = NewImageOptions(virtualSize: 0)
    figure.change(&options)
    let measure = try options.measurer().measure(length: figure.size)
    #expect(measure == ImageMeasure(required: figure.required, fullyAllocated: figure.full))
  }

  @Test func aDiskBeyondTheFormatIsTooLarge() throws {
    let error = #expect(throws: BlockError.self) {
      try NewImageOptions(virtualSize: 0).measurer().measure(length: 3 << 50)
    }
    #expect(error?.message == "The image size is too large (try using a larger cluster size)")
    #expect(throws: BlockError.self) {
      try NewImageOptions(virtualSize: 0).measurer().measure(length: .max)
    }
  }

  @Test func aBackingFileMakesAllClustersOfASourceCount() async throws {
    let lab = ChainLab(seed: 1)
    try await lab.world.run {
      var options = NewImageOptions(virtualSize: 0)
      options.backingFileName = EmbeddedName(bytes: Array("b".utf8))
      options.backingFormat = EmbeddedName(bytes: Array("raw".utf8))
      let measurer = try options.measurer()
      let measure = try await measurer.measure(try lab.disk(length: 1 << 30))
      #expect(measure.required == measure.fullyAllocated)
      #expect(try measurer.measure(length: 1 << 30).required == 393216)
    }
  }

  @Test func aRawImageTakesItsLengthInSectors() throws {
    #expect(
      try ImageMeasurer.raw.measure(length: 1000)
        == ImageMeasure(required: 1024, fullyAllocated: 1024))
  }

  @Test func clustersOfTheGuestsViewAreCountedOnce() async throws {
    let lab = ChainLab(seed: 1)
    try await lab.world.run {
      // Two data runs in one cluster of the target, one that crosses into the next, and a zero one.
      let image = try await lab.image(length: 1 << 20, clusterSize: 512)
      try await lab.write(image, ByteRange(512, 1024))
      try await lab.write(image, ByteRange(4096, 5000))
      try await lab.write(image, ByteRange(65536 * 3 - 512, 65536 * 3 + 512))
      try await image.writeZeroes(ByteRange(65536 * 8, 65536 * 9))
      let measurer = try NewImageOptions(virtualSize: 0).measurer()
      let measure = try await measurer.measure(image)
      #expect(measure.required == 327680 + 3 * 65536)
      #expect(measure.bitmaps == 0)
      try image.addBitmap("b", granularity: 65536, persistent: true)
      // Directory, table and one cluster of bits.
      #expect(try await measurer.measure(image).bitmaps == 3 * 65536)
    }
  }
}
