import BlockTestKit
import Primitives

/// One state that an image may be in: what the guest sees, and all that is kept beside it.
struct GuestState {
  /// The guest's disk.
  var model: ModelDisk
  /// What each snapshot holds.
  var snapshots: [String: [UInt8]] = [:]
  var bitmaps: [BitmapExpectation] = []
  var backingName: String?

  /// The same, with the disk's contents known to be `bytes`, durably.
  func settled(on bytes: [UInt8]) -> GuestState {
    var state = self
    state.model = ModelDisk(SparseImage(bytes))
    return state
  }

  /// The same with bitmaps that follow a change of the length.
  func resized(to bytes: [UInt8]) -> GuestState {
    var state = settled(on: bytes)
    for index in state.bitmaps.indices {
      var base = state.bitmaps[index].base
      base.resize(to: bytes.count)
      state.bitmaps[index] = BitmapExpectation(
        name: state.bitmaps[index].name, base: base, mustExist: state.bitmaps[index].mustExist)
    }
    return state
  }

  /// Why an image with these contents is not in this state; nil when it may be.
  func mismatch(_ found: FoundImage) -> String? {
    guard found.contents.count == model.length else {
      return "the size is \(found.contents.count), not \(model.length)"
    }
    let all = ByteRange(0, model.length)
    if let difference = model.verifyAfterCrash(found.contents, at: all) { return "\(difference)" }
    if found.backingName != backingName {
      return "the backing file is '\(found.backingName ?? "none")'"
    }
    guard found.snapshots.keys.sorted() == snapshots.keys.sorted() else {
      return "the snapshots are \(found.snapshots.keys.sorted())"
    }
    for (name, contents) in snapshots.sorted(by: { $0.key < $1.key })
    where found.snapshots[name] != contents {
      return "snapshot '\(name)' has changed"
    }
    return bitmaps.lazy.compactMap { mismatch(of: $0, found) }.first
  }

  private func mismatch(of bitmap: BitmapExpectation, _ found: FoundImage) -> String? {
    guard let runs = found.bitmaps[bitmap.name] else {
      return bitmap.mustExist ? "bitmap '\(bitmap.name)' is gone" : nil
    }
    guard let runs else { return nil }  // it says that it is inconsistent
    return bitmap.unmarkedChange(in: found.contents, marked: runs).map {
      "bitmap '\(bitmap.name)' does not mark the change of byte \($0)"
    }
  }
}

/// What an image was found to hold.
struct FoundImage {
  var contents: [UInt8]
  var snapshots: [String: [UInt8]] = [:]
  /// The set runs of each bitmap; nil for one that is inconsistent.
  var bitmaps: [String: [ByteRange]?] = [:]
  var backingName: String?
}
