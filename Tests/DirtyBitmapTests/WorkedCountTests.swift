import DirtyBitmap
import Primitives
import Testing

/// The counts that a real QEMU gave, case by case.
@Suite struct WorkedCountTests {
  private func bitmap(_ size: Int, _ granularity: Int) throws -> HierarchicalBitmap {
    try HierarchicalBitmap(size: size, granularity: granularity)
  }

  @Test func aWriteMarksEachGranuleItTouches() throws {
    let bitmap = try bitmap(64 << 20, 65536)
    bitmap.set(ByteRange(offset: 65535, count: 2))
    #expect(bitmap.dirtyByteCount == 131072)
    bitmap.resetAll()
    bitmap.set(ByteRange(offset: 32736 << 10, count: 64 << 10))
    #expect(bitmap.dirtyByteCount == 131072)
    bitmap.resetAll()
    for (offset, count) in [(0, 512), (16 << 20, 256 << 10), (32736 << 10, 64 << 10)] {
      bitmap.set(ByteRange(offset: offset, count: count))
    }
    #expect(bitmap.dirtyByteCount == 458752)
  }

  @Test func anEmptyWriteMarksNothing() throws {
    let bitmap = try bitmap(1 << 20, 65536)
    bitmap.set(ByteRange(0, 0))
    bitmap.set(ByteRange(65536, 65536))
    bitmap.set(ByteRange(1 << 20, 1 << 20))
    #expect(bitmap.isEmpty)
  }

  @Test(arguments: [(512, 100352), (4096, 102400), (65536, 131072), (1 << 31, 2_147_483_648)])
  func countsAreWholeGranulesEvenBeyondTheSize(_ granularity: Int, _ expected: Int) throws {
    let bitmap = try bitmap(100352, granularity)
    bitmap.set(ByteRange(0, 100352))
    #expect(bitmap.dirtyByteCount == expected)
    #expect(bitmap.isFull)
  }

  @Test func oneByteOfASectorCountsAsAGranule() throws {
    let bitmap = try bitmap(512, 1 << 31)
    bitmap.set(ByteRange(7, 8))
    #expect(bitmap.granuleCount == 1 && bitmap.dirtyByteCount == 2_147_483_648)
    #expect(bitmap.runs() == [ByteRange(0, 512)])
  }

  @Test(arguments: [
    (512, 4096, 4096), (512, 65536, 65536), (4096, 512, 4096), (65536, 512, 65536),
    (1 << 31, 512, 100352),
  ])
  func mergingRoundsOutwardsToTheTarget(_ source: Int, _ target: Int, _ expected: Int) throws {
    let from = try bitmap(100352, source)
    from.set(ByteRange(offset: 4608, count: 512))
    let into = try bitmap(100352, target)
    try into.merge(from)
    #expect(into.dirtyByteCount == expected)
    #expect(into.checkInvariants().isEmpty)
  }

  @Test func differentSizesAreNotMerged() throws {
    let small = try bitmap(1 << 20, 65536)
    let large = try bitmap(2 << 20, 65536)
    large.setAll()
    let error = #expect(throws: BitmapError.self) { try small.merge(large) }
    #expect(error?.code == .differentSizes)
    #expect(
      error?.message == "Bitmaps are of different sizes (destination size is 1048576, source "
        + "size is 2097152) and can't be merged")
    #expect(small.isEmpty)
    #expect(throws: BitmapError.self) { try large.subtract(small) }
    #expect(large.isFull)
  }

  @Test func subtractingRoundsInwards() throws {
    let coarse = try bitmap(1 << 20, 65536)
    coarse.setAll()
    let fine = try bitmap(1 << 20, 512)
    fine.set(ByteRange(512, 3 * 65536 - 512))
    try coarse.subtract(fine)
    #expect(coarse.runs() == [ByteRange(0, 65536), ByteRange(2 * 65536, 1 << 20)])
    try coarse.subtract(coarse)
    #expect(coarse.isEmpty)
  }

  @Test(arguments: [
    (65536, 1_114_112), (4096, 1_052_672), (512, 1_049_088), (1 << 31, 2_147_483_648),
  ])
  func shrinkingKeepsAGranuleThatIsCut(_ granularity: Int, _ expected: Int) throws {
    let bitmap = try bitmap(2 << 20, granularity)
    bitmap.setAll()
    try bitmap.resize(to: 1 << 20 + 512)
    #expect(bitmap.dirtyByteCount == expected)
    #expect(bitmap.isFull)
    try bitmap.resize(to: 0)
    #expect(bitmap.dirtyByteCount == 0)
    try bitmap.resize(to: 2 << 20)
    #expect(bitmap.dirtyByteCount == 0)
    #expect(bitmap.checkInvariants().isEmpty)
  }

  @Test func growingAddsClearGranules() throws {
    let bitmap = try bitmap(100 * 512, 512)
    bitmap.setAll()
    try bitmap.resize(to: 1 << 40)
    #expect(bitmap.runs() == [ByteRange(0, 100 * 512)])
    #expect(bitmap.checkInvariants().isEmpty)
  }

  @Test func aResizeThatCannotBeLeavesAllAsItWas() throws {
    let bitmap = try bitmap(1 << 20, 512)
    bitmap.set(ByteRange(0, 1))
    #expect(throws: BitmapError.self) { try bitmap.resize(to: .max) }
    #expect(throws: BitmapError.self) { try bitmap.resize(to: -1) }
    #expect(bitmap.size == 1 << 20 && bitmap.count == 1)
  }

  /// Regions that are full at a high level have no words below; a copy must know that too.
  @Test func aCopyOfABitmapWithFullRegionsIsWhole() throws {
    let bitmap = try bitmap((1 << 25) * 512, 512)
    bitmap.set(ByteRange(0, 10 * 4096 * 512))
    bitmap.set(ByteRange(300_000 * 512, 300_001 * 512))
    let copy = try bitmap.copy()
    #expect(copy.checkInvariants().isEmpty)
    #expect(copy.contains(0) && copy.contains(4096 * 512) && copy.contains(300_000 * 512))
    #expect(copy.serialized(from: 0, count: 40960) == bitmap.serialized(from: 0, count: 40960))
    copy.set(ByteRange(4096 * 512, 4097 * 512))
    #expect(copy.isEqual(to: bitmap))
  }

  /// A records everything; B the first writes, C the later ones; their union is A.
  @Test func theUnionOfTwoBitmapsInARowIsTheOneThatSawItAll() throws {
    func made(_ name: String) throws -> DirtyBitmap {
      try DirtyBitmap(name: name, size: 64 << 20, granularity: 65536)
    }
    let (a, b, c, d) = (try made("A"), try made("B"), try made("C"), try made("D"))
    func write(_ granule: Double, _ bitmaps: [DirtyBitmap]) {
      let range = ByteRange(offset: Int(granule * 65536), count: 65536)
      for bitmap in bitmaps { bitmap.record(range) }
    }
    for granule in [0.0, 16, 32, 48] { write(granule, [a, b]) }
    try b.disable()
    for granule in [0.0, 16.5, 32.5, 100] { write(granule, [a, b, c]) }
    try a.disable()
    try c.disable()
    try d.merge(b)
    try d.merge(c)
    #expect([a, b, c, d].map { $0.count / 65536 } == [7, 4, 6, 7])
    #expect(a.withBits { $0.serialized() } == d.withBits { $0.serialized() })
  }
}
