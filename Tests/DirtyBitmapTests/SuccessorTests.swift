import DirtyBitmap
import Primitives
import Testing

/// A job's hold on a bitmap, merging, and what a transaction takes back.
@Suite struct SuccessorTests {
  private func bitmap(_ name: String, _ granules: [Int] = []) throws -> DirtyBitmap {
    let bitmap = try DirtyBitmap(name: name, size: 1 << 20, granularity: 65536)
    for granule in granules { write(granule, bitmap) }
    return bitmap
  }

  private func write(_ granule: Int, _ bitmap: DirtyBitmap) {
    bitmap.record(ByteRange(offset: granule * 65536 + 17, count: 4096))
  }

  private func granules(_ bitmap: DirtyBitmap) -> [Int] {
    bitmap.withBits { bits in (0..<16).filter { bits.contains($0 * 65536) } }
  }

  @Test func aFrozenBitmapIsImmutableWhileItsSuccessorRecords() throws {
    let bitmap = try bitmap("b", [1, 2])
    try bitmap.freeze()
    write(9, bitmap)
    #expect(granules(bitmap) == [1, 2])
    let info = bitmap.info
    #expect(info.isRecording && info.isBusy && info.status == .frozen)
    let successor = bitmap.successorInfo
    #expect(successor?.count == 65536 && successor?.name == nil && successor?.status == .active)
    let other = try self.bitmap("other")
    let operations: [() throws -> Void] = [
      { try bitmap.checkRemovable() }, { try bitmap.clear() }, { try bitmap.enable() },
      { try bitmap.disable() }, { try bitmap.merge(other) }, { try other.merge(bitmap) },
      { try bitmap.freeze() }, { try bitmap.setBusy(true) },
    ]
    for operation in operations { #expect(throws: BitmapError.busy("b")) { try operation() } }
    #expect(granules(bitmap) == [1, 2] && granules(other) == [])
  }

  @Test func abdicatingLeavesTheWritesSinceTheFreeze() throws {
    let bitmap = try bitmap("b", [1, 2])
    try bitmap.freeze()
    write(9, bitmap)
    bitmap.abdicate()
    #expect(granules(bitmap) == [9])
    #expect(bitmap.isRecording && !bitmap.isBusy)
    write(3, bitmap)
    #expect(granules(bitmap) == [3, 9])
  }

  @Test func reclaimingLeavesOldAndNew() throws {
    let bitmap = try bitmap("b", [1, 2])
    try bitmap.freeze()
    write(9, bitmap)
    bitmap.reclaim()
    #expect(granules(bitmap) == [1, 2, 9])
    #expect(bitmap.isRecording && !bitmap.isBusy && bitmap.successorInfo == nil)
  }

  @Test func aDisabledBitmapEndsDisabledAndCleared() throws {
    let bitmap = try bitmap("b", [1, 2])
    try bitmap.disable()
    try bitmap.freeze()
    write(9, bitmap)
    #expect(!bitmap.isRecording && bitmap.successorInfo?.status == .disabled)
    bitmap.abdicate()
    #expect(granules(bitmap) == [] && !bitmap.isEnabled)
  }

  @Test func whatAJobCouldNotCopyStaysDirty() throws {
    let bitmap = try bitmap("b", [1, 2])
    try bitmap.freeze()
    write(9, bitmap)
    bitmap.abdicate(adding: [ByteRange(4 * 65536, 6 * 65536), ByteRange(12 * 65536 + 1, 800_000)])
    #expect(granules(bitmap) == [4, 5, 9, 12])
  }

  @Test func mergingItselfOrTwiceIsHarmless() throws {
    let bitmap = try bitmap("b", [1])
    let other = try self.bitmap("other", [2])
    try bitmap.merge(bitmap)
    #expect(granules(bitmap) == [1])
    try other.disable()
    try bitmap.merge(other)
    try bitmap.merge(other)
    #expect(granules(bitmap) == [1, 2] && granules(other) == [2])
    try other.merge(bitmap)
    #expect(granules(other) == [1, 2] && !other.isEnabled)
  }

  @Test func aMergeThatFailsChangesNothing() throws {
    let bitmap = try bitmap("b", [1])
    let busy = try self.bitmap("busy", [3])
    try busy.setBusy(true)
    let large = try DirtyBitmap(name: "large", size: 2 << 20, granularity: 65536)
    large.record(ByteRange(0, 2 << 20))
    #expect(throws: BitmapError.busy("busy")) { try bitmap.merge(busy) }
    #expect(throws: BitmapError.differentSizes(destination: 0, source: 0)) {
      try bitmap.merge(large)
    }
    #expect(granules(bitmap) == [1])
  }

  @Test func aTransactionTakesBackAClearAndMerges() throws {
    let bitmap = try bitmap("b", [1, 2])
    try bitmap.disable()
    let saved = try bitmap.copyBits()
    try bitmap.clear()
    #expect(granules(bitmap) == [])
    try bitmap.merge(try self.bitmap("other", [5]))
    #expect(granules(bitmap) == [5])
    try bitmap.restore(saved)
    #expect(granules(bitmap) == [1, 2] && !bitmap.isEnabled)
  }

  @Test func onlyBitsOfTheSameGeometryAreRestored() throws {
    let bitmap = try bitmap("b", [1])
    #expect(throws: BitmapError.differentSizes(destination: 0, source: 0)) {
      try bitmap.restore(try HierarchicalBitmap(size: 1 << 21, granularity: 65536))
    }
    #expect(throws: BitmapError.invalidGranularity) {
      try bitmap.restore(try HierarchicalBitmap(size: 1 << 20, granularity: 512))
    }
    #expect(granules(bitmap) == [1])
  }

  @Test func aCopyOfTheBitsStandsAlone() throws {
    let bitmap = try bitmap("b", [1])
    let copy = try bitmap.copyBits()
    write(2, bitmap)
    #expect(copy.count == 1)
    let other = try DirtyBitmap(name: "other", bits: copy, isEnabled: false, isReadOnly: true)
    #expect(granules(other) == [1])
    #expect(other.isPersistent && other.isReadOnly && !other.isRecording)
  }

  @Test func recordingFromManyTasksLosesNothing() async throws {
    let bitmap = try DirtyBitmap(name: nil, size: 64 << 20, granularity: 512)
    await withTaskGroup(of: Void.self) { group in
      for task in 0..<4 {
        group.addTask {
          for index in 0..<5000 {
            bitmap.record(ByteRange(offset: (index * 4 + task) * 1024, count: 1))
          }
        }
      }
    }
    #expect(bitmap.count == 20_000 * 512)
    #expect(bitmap.withBits { $0.checkInvariants() }.isEmpty)
  }
}
