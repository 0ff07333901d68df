import DirtyBitmap
import Primitives
import Testing

/// Sizes, granularities and names: what is accepted, and what is refused with which words.
@Suite struct GeometryTests {
  @Test(arguments: [0, 1, 256, 511, 513, 64000, (1 << 32) - 1, -512, Int.min])
  func aGranularityThatIsNoPowerOfTwoOrTooSmallIsRefused(_ granularity: Int) {
    let error = #expect(throws: BitmapError.self) {
      try HierarchicalBitmap(size: 1 << 20, granularity: granularity)
    }
    #expect(error?.code == .invalidGranularity)
    #expect(error?.message == "Granularity must be power of 2 and at least 512")
  }

  @Test func granularitiesFrom512BytesTo2GiBAreAccepted() throws {
    for exponent in 9...31 {
      let bitmap = try HierarchicalBitmap(size: 100352, granularity: 1 << exponent)
      #expect(bitmap.granularity == 1 << exponent)
    }
    #expect(throws: BitmapError(.invalidGranularity, "")) {
      try HierarchicalBitmap(size: 1, granularity: 1 << 32)
    }
  }

  @Test func theDefaultGranularityIsTheClusterSizeWithinBounds() {
    let clusterSizes: [Int?] = [512, 1024, 65536, 2 << 20, nil, 0]
    let expected = [4096, 4096, 65536, 65536, 65536, 65536]
    let chosen = clusterSizes.map { BitmapGranularity.defaultGranularity(clusterSize: $0) }
    #expect(chosen == expected)
  }

  @Test func namesHave1To1023BytesOfUTF8() throws {
    let wide = String(repeating: "\u{20ac}", count: 341)
    for text in ["a b", "a:b", String(repeating: "n", count: 1023), wide] {
      #expect(try BitmapName(text).text == text)
    }
    let empty = #expect(throws: BitmapError.self) { try BitmapName("") }
    #expect(empty?.message == "Bitmap name cannot be empty")
    for text in [String(repeating: "n", count: 1024), wide + "\u{20ac}"] {
      let long = #expect(throws: BitmapError.self) { try BitmapName(text) }
      #expect(long?.code == .nameTooLong)
      #expect(long?.message == "Bitmap name too long: \(text)")
    }
  }

  @Test func moreThan2To41GranulesAreAnError() throws {
    let limit = 1 << 41
    for granularity in [512, 65536] {
      #expect(throws: BitmapError(.tooManyGranules, "")) {
        try HierarchicalBitmap(size: limit * granularity + 1, granularity: granularity)
      }
    }
    #expect(throws: BitmapError(.tooManyGranules, "")) {
      try HierarchicalBitmap(size: .max, granularity: 1 << 21)
    }
    #expect(throws: BitmapError(.invalidSize, "")) {
      try HierarchicalBitmap(size: -1, granularity: 512)
    }
  }

  @Test func theLargestBitmapWorksWhereTheSystemGrantsItsAddressSpace() throws {
    let size = (1 << 41) * 512
    let bitmap: HierarchicalBitmap
    do {
      bitmap = try HierarchicalBitmap(size: size, granularity: 512)
    } catch {
      #expect(error.code == .outOfMemory)
      return
    }
    #expect(bitmap.granuleCount == 1 << 41)
    bitmap.set(ByteRange(size - 1, size))
    bitmap.set(ByteRange(5 << 40, 6 << 40))
    #expect(bitmap.count == (1 << 31) + 1)
    #expect(bitmap.runs() == [ByteRange(5 << 40, 6 << 40), ByteRange(size - 512, size)])
    #expect(bitmap.serializedByteCount == 1 << 38)
    #expect(bitmap.serialized(from: (1 << 38) - 8, count: 8) == [0, 0, 0, 0, 0, 0, 0, 0x80])
    #expect(bitmap.residentByteCount < 1 << 20)
    #expect(bitmap.checkInvariants().isEmpty)
  }

  @Test(arguments: [1 << 22, 1 << 31])
  func theLargestSizeIsAddressedToItsLastByte(_ granularity: Int) throws {
    let bitmap = try HierarchicalBitmap(size: .max, granularity: granularity)
    bitmap.set(ByteRange(.max - 1, .max))
    let last = ByteRange(.max - granularity + 1, .max)
    #expect(bitmap.contains(.max - 1) && !bitmap.contains(.max))
    #expect(bitmap.runs() == [last])
    #expect(bitmap.nextRun(in: ByteRange(0, .max)) == last)
    #expect(bitmap.takeNextRun(in: ByteRange(1, .max)) == last)
    #expect(bitmap.isEmpty)
    bitmap.setAll()
    #expect(bitmap.runs() == [ByteRange(0, .max)])
    #expect(bitmap.dirtyByteCount == .max)
    let window = ByteRange(.max - 3 * granularity, .max)
    #expect(bitmap.runs(in: window) == [window])
    bitmap.reset(ByteRange(1, .max))
    #expect(bitmap.runs() == [ByteRange(0, granularity)])
  }

  @Test func anErrorIsEqualToAnotherOfItsCode() {
    #expect(BitmapError.busy("a") == BitmapError.busy("b"))
    #expect(BitmapError.busy("a") != BitmapError.readOnly("a"))
    #expect("\(BitmapError.notFound("a"))" == "Dirty bitmap 'a' not found")
    #expect("\(BitmapError.alreadyExists("a"))" == "Bitmap already exists: a")
  }
}
