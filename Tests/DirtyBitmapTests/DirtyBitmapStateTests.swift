import DirtyBitmap
import Primitives
import Testing

/// The states of a named bitmap: what each allows, records and says of itself.
@Suite struct DirtyBitmapStateTests {
  private func bitmap(_ name: String = "b") throws -> DirtyBitmap {
    try DirtyBitmap(name: name, size: 1 << 20, granularity: 65536)
  }

  private let first = ByteRange(0, 1)
  private let second = ByteRange(65536, 65537)

  @Test func aFreshBitmapIsEmptyAndRecords() throws {
    let bitmap = try bitmap()
    let info = bitmap.info
    #expect(info.name == "b" && info.count == 0 && info.granularity == 65536)
    #expect(info.isRecording && info.status == .active)
    #expect(!info.isBusy && !info.isPersistent && !info.isInconsistent)
    bitmap.record(first)
    bitmap.record(ByteRange(65536, 65536))
    #expect(bitmap.count == 65536 && bitmap.size == 1 << 20)
    #expect(bitmap.successorInfo == nil)
  }

  @Test func aDisabledBitmapRecordsNothingUntilItIsEnabled() throws {
    let bitmap = try DirtyBitmap(name: nil, size: 1 << 20, granularity: 65536, isEnabled: false)
    bitmap.record(first)
    #expect(bitmap.count == 0 && bitmap.info.status == .disabled && bitmap.info.name == nil)
    try bitmap.enable()
    try bitmap.enable()
    bitmap.record(first)
    #expect(bitmap.count == 65536)
    try bitmap.disable()
    try bitmap.disable()
    bitmap.record(second)
    #expect(bitmap.count == 65536)
    try bitmap.clear()
    #expect(bitmap.count == 0 && !bitmap.isEnabled)
  }

  /// Every state, and the code of the error that each requirement gives in it.
  @Test func requirementsAreCheckedInOrderBusyReadOnlyInconsistent() throws {
    func code(_ check: () throws(BitmapError) -> Void) -> BitmapError.Code? {
      do throws(BitmapError) { try check() } catch { return error.code }
      return nil
    }
    func codes(_ bitmap: DirtyBitmap) -> [BitmapError.Code?] {
      [code(bitmap.checkModifiable), code(bitmap.checkUsable), code(bitmap.checkRemovable)]
    }
    let bitmap = try bitmap()
    #expect(codes(bitmap) == [nil, nil, nil])
    bitmap.setReadOnly(true)
    #expect(codes(bitmap) == [.readOnly, nil, .readOnly])
    try bitmap.setBusy(true)
    #expect(codes(bitmap) == [.busy, .busy, .busy])
    try bitmap.setBusy(false)
    bitmap.markInconsistent()
    #expect(codes(bitmap) == [.readOnly, .inconsistent, .readOnly])
    bitmap.setReadOnly(false)
    #expect(codes(bitmap) == [.inconsistent, .inconsistent, nil])
  }

  @Test func theErrorsOfStatesHaveQEMUsWords() throws {
    #expect(
      BitmapError.busy("b").message
        == "Bitmap 'b' is currently in use by another operation and cannot be used")
    #expect(
      BitmapError.readOnly("b").message == "Bitmap 'b' is readonly and cannot be modified")
    #expect(
      BitmapError.inconsistent("b").message == "Bitmap 'b' is inconsistent and cannot be used")
    #expect(
      BitmapError.inconsistent("b").hint
        == "Try block-dirty-bitmap-remove to delete this bitmap from disk")
  }

  @Test func aReadOnlyBitmapCanBeEnabledAndMergedFromButNotChanged() throws {
    let bitmap = try bitmap()
    bitmap.record(first)
    bitmap.setReadOnly(true)
    #expect(throws: BitmapError.readOnly("b")) { try bitmap.clear() }
    #expect(throws: BitmapError.readOnly("b")) { try bitmap.merge(bitmap) }
    try bitmap.disable()
    try bitmap.enable()
    let other = try self.bitmap("other")
    try other.merge(bitmap)
    #expect(other.count == 65536 && bitmap.isReadOnly)
  }

  @Test func anInconsistentBitmapIsEmptyAndCanOnlyBeRemoved() throws {
    let bitmap = try DirtyBitmap(
      name: "b", size: 1 << 20, granularity: 65536, isPersistent: true)
    bitmap.record(first)
    bitmap.markInconsistent()
    bitmap.record(second)
    let info = bitmap.info
    #expect(info.count == 0 && !info.isRecording && info.isInconsistent && info.isPersistent)
    #expect(info.status == .inconsistent && bitmap.isInconsistent)
    let operations: [() throws -> Void] = [
      { try bitmap.clear() }, { try bitmap.enable() }, { try bitmap.disable() },
      { try bitmap.merge(bitmap) }, { try bitmap.freeze() },
      { try bitmap.checkResizable(to: 4096) },
      { try self.bitmap("other").merge(bitmap) }, { try bitmap.setBusy(true) },
    ]
    for operation in operations {
      #expect(throws: BitmapError.inconsistent("b")) { try operation() }
    }
    try bitmap.checkRemovable()
  }

  @Test func aLockedBitmapRecordsOnButRefusesOperations() throws {
    let bitmap = try bitmap()
    try bitmap.setBusy(true)
    bitmap.record(first)
    #expect(bitmap.count == 65536 && bitmap.isBusy && bitmap.info.status == .locked)
    #expect(throws: BitmapError.busy("b")) { try bitmap.clear() }
    #expect(throws: BitmapError.busy("b")) { try bitmap.setBusy(true) }
    try bitmap.setBusy(false)
    try bitmap.clear()
    #expect(bitmap.count == 0)
  }

  @Test func resizingReachesTheBitsAndTheSuccessor() throws {
    let bitmap = try bitmap()
    bitmap.record(ByteRange(0, 1 << 20))
    try bitmap.checkResizable(to: 4096)
    try bitmap.freeze()
    bitmap.record(second)
    try bitmap.resize(to: 100_000)
    #expect(bitmap.size == 100_000 && bitmap.count == 131072)
    #expect(bitmap.successorInfo?.count == 65536)
    try bitmap.resize(to: 4 << 20)
    bitmap.record(ByteRange((4 << 20) - 1, 4 << 20))
    bitmap.abdicate()
    #expect(bitmap.count == 131072)
    #expect(throws: BitmapError(.invalidSize, "")) { try bitmap.resize(to: -1) }
    #expect(bitmap.size == 4 << 20)
    try bitmap.resize(to: 0)
    #expect(bitmap.count == 0)
  }

  @Test func givingBackWhatWasNotTakenTraps() async {
    await #expect(processExitsWith: .failure) {
      try DirtyBitmap(name: nil, size: 0, granularity: 512).abdicate()
    }
    await #expect(processExitsWith: .failure) {
      let bitmap = try DirtyBitmap(name: nil, size: 0, granularity: 512)
      try bitmap.freeze()
      try bitmap.setBusy(false)
    }
    await #expect(processExitsWith: .failure) {
      try DirtyBitmap(name: nil, size: 0, granularity: 512).reclaim()
    }
  }

  @Test func aBitmapLostUnderAJobIsGivenBackEmpty() throws {
    for reclaims in [true, false] {
      let bitmap = try bitmap()
      bitmap.record(first)
      try bitmap.freeze()
      bitmap.record(second)
      bitmap.markInconsistent()
      #expect(bitmap.isBusy && bitmap.successorInfo == nil)
      if reclaims { bitmap.reclaim() } else { bitmap.abdicate() }
      #expect(!bitmap.isBusy && bitmap.isInconsistent && bitmap.count == 0)
    }
  }

  @Test func aBitmapWhoseBitsAnImageLostIsInconsistentFromTheStart() throws {
    let bitmap = try DirtyBitmap(inconsistent: "b", size: 1 << 20, granularity: 65536)
    bitmap.record(first)
    #expect(bitmap.info.status == .inconsistent && bitmap.isPersistent && bitmap.count == 0)
  }

  @Test func namesAreChecked() {
    #expect(throws: BitmapError.emptyName) {
      try DirtyBitmap(name: "", size: 1 << 20, granularity: 65536)
    }
    let long = String(repeating: "n", count: 1024)
    #expect(throws: BitmapError.nameTooLong(long)) {
      try DirtyBitmap(inconsistent: long, size: 1 << 20, granularity: 65536)
    }
  }
}
