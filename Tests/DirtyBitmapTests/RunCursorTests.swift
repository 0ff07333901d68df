import DirtyBitmap
import Primitives
import Testing

/// Walking while bits change, and taking runs.
@Suite struct RunCursorTests {
  static let granule = 65536

  private func bitmap(_ granules: [Range<Int>]) throws -> HierarchicalBitmap {
    let bitmap = try HierarchicalBitmap(size: 10_000 * RunCursorTests.granule, granularity: 65536)
    for range in granules { bitmap.set(bytes(range)) }
    return bitmap
  }

  private func bytes(_ granules: Range<Int>) -> ByteRange {
    ByteRange(
      granules.lowerBound * RunCursorTests.granule, granules.upperBound * RunCursorTests.granule)
  }

  @Test func aCursorSeesBitsSetBeforeItAndNotThoseCleared() throws {
    let bitmap = try bitmap([0..<2, 100..<200, 5000..<5001])
    var cursor = RunCursor(bitmap.bounds)
    #expect(cursor.next(in: bitmap) == bytes(0..<2))
    bitmap.reset(bytes(100..<150))
    bitmap.set(bytes(60..<61))
    bitmap.set(bytes(0..<1))
    #expect(cursor.next(in: bitmap) == bytes(60..<61))
    #expect(cursor.next(in: bitmap, maxLength: 3 * 65536) == bytes(150..<153))
    bitmap.setAll()
    #expect(cursor.next(in: bitmap) == bytes(153..<10_000))
    #expect(cursor.next(in: bitmap) == nil)
    bitmap.set(bytes(0..<10_000))
    #expect(cursor.next(in: bitmap) == nil)
    cursor.position = 9_999 * 65536
    #expect(cursor.next(in: bitmap) == bytes(9_999..<10_000))
  }

  @Test func aCursorEndsWithItsWindow() throws {
    let bitmap = try bitmap([0..<10_000])
    var cursor = RunCursor(ByteRange(1000, 100_000))
    #expect(cursor.next(in: bitmap) == ByteRange(1000, 100_000))
    #expect(cursor.position == 100_000)
    try bitmap.resize(to: 50_000)
    cursor.position = 0
    #expect(cursor.next(in: bitmap) == ByteRange(0, 50_000))
  }

  @Test func takingRunsEmptiesTheBitmapInPiecesOfWholeGranules() throws {
    let bitmap = try bitmap([3..<10, 4090..<4100])
    #expect(bitmap.takeNextRun(in: bitmap.bounds, maxLength: 4 * 65536 + 1) == bytes(3..<7))
    #expect(bitmap.takeNextRun(in: bitmap.bounds, maxLength: 1) == bytes(7..<8))
    #expect(bitmap.takeNextRun(in: bitmap.bounds) == bytes(8..<10))
    #expect(bitmap.takeNextRun(in: ByteRange(4090 * 65536 + 1, 4092 * 65536)) == bytes(4091..<4092))
    #expect(bitmap.count == 9)
    #expect(bitmap.takeNextRun(in: ByteRange(0, 4090 * 65536 + 1)) == nil)
    #expect(bitmap.count == 9)
  }

  @Test func aRunWithoutLengthTraps() async {
    await #expect(processExitsWith: .failure) {
      let bitmap = try HierarchicalBitmap(size: 1 << 20, granularity: 512)
      _ = bitmap.nextRun(in: bitmap.bounds, maxLength: 0)
    }
    await #expect(processExitsWith: .failure) {
      let bitmap = try HierarchicalBitmap(size: 1 << 20, granularity: 512)
      _ = bitmap.takeNextRun(in: bitmap.bounds, maxLength: 0)
    }
  }

  @Test func anEnumerationEndsWhenItsClosureThrows() throws {
    struct Enough: Error {}
    let bitmap = try bitmap([0..<1, 2..<3, 4..<5])
    var seen = 0
    #expect(throws: Enough.self) {
      try bitmap.forEachRun { (_: ByteRange) throws(Enough) in
        seen += 1
        if seen == 2 { throw Enough() }
      }
    }
    #expect(seen == 2)
  }
}
