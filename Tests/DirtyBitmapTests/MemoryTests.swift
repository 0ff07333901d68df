import Primitives
import Testing

@testable import DirtyBitmap

/// What bitmaps cost in memory: pages that the kernel says are resident.
@Suite struct MemoryTests {
  static let size = 64 << 40
  static let mebibyte = 1 << 20

  private func bitmap() throws -> HierarchicalBitmap {
    try HierarchicalBitmap(size: MemoryTests.size, granularity: 65536)
  }

  @Test func anEmptyBitmapOf64TiBOccupiesLessThanAMebibyte() throws {
    let bitmap = try bitmap()
    #expect(bitmap.runs().isEmpty && bitmap.nextClear(in: bitmap.bounds) == 0)
    #expect(bitmap.residentByteCount < MemoryTests.mebibyte)
  }

  @Test func aFullBitmapOf64TiBOccupiesLessThanAMebibyte() throws {
    let whole = try bitmap()
    whole.setAll()
    let range = try bitmap()
    range.set(ByteRange(0, MemoryTests.size))
    let ragged = try bitmap()
    ragged.set(ByteRange(123_456_789, MemoryTests.size - 987_654_321))
    for bitmap in [whole, range, ragged] {
      #expect(bitmap.runs().count == 1)
      #expect(bitmap.residentByteCount < MemoryTests.mebibyte)
    }
    #expect(whole.isEqual(to: range))
    ragged.setAll()
    #expect(ragged.isEqual(to: whole))
  }

  @Test func aFullBitmapLoadedFromAnImageOccupiesLessThanAMebibyte() throws {
    let bitmap = try HierarchicalBitmap(size: 4 << 40, granularity: 65536)
    let cluster = [UInt8](repeating: 0xff, count: 65536)
    for start in stride(from: 0, to: bitmap.serializedByteCount, by: cluster.count) {
      bitmap.deserialize(from: cluster.span.bytes, atByte: start)
    }
    #expect(bitmap.isFull)
    #expect(bitmap.residentByteCount < MemoryTests.mebibyte)
  }

  @Test func whatIsWrittenIsCounted() throws {
    let bitmap = try bitmap()
    let leafPage = 4096 * 8 * 65536  // the disk that a page of the leaf stands for
    for index in 0..<1024 { bitmap.set(ByteRange(offset: index * leafPage, count: 1)) }
    #expect(bitmap.residentByteCount >= 1024 * 4096)
    let copy = try bitmap.copy()
    #expect(copy.residentByteCount >= 1024 * 4096)
    bitmap.resetAll()
    #expect(try bitmap.copy().residentByteCount < MemoryTests.mebibyte)
  }

  @Test func serialisingDoesNotTouchTheMemoryOfCleanRegions() throws {
    let bitmap = try HierarchicalBitmap(size: 4 << 40, granularity: 65536)
    bitmap.set(ByteRange(1 << 40, (1 << 40) + 1))
    let before = bitmap.residentByteCount
    _ = bitmap.serialized()
    #expect(bitmap.residentByteCount == before)
  }

  @Test func addressSpaceThatTheSystemRefusesIsNil() {
    #expect(ZeroedMemory(byteCount: 1 << 60) == nil)
  }
}
