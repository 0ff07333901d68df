import BlockTestKit
import Primitives

/// A moment of a run at which the power may fail, with what must be true afterwards.
struct CrashMoment {
  let point: CrashPoint
  let expectation: CrashExpectation
}

/// What may be found after a crash.
///
/// Where an operation on the image is under way, the old and the new are allowed.
struct CrashExpectation {
  /// The guest's disk.
  var model: ModelDisk
  /// The guest's disk, if what is under way replaces it.
  var otherModel: ModelDisk?
  /// The virtual sizes.
  var sizes: Set<Int>
  /// The backing file's recorded names.
  var backingNames: Set<String?>
  /// The snapshots that may be there: names, with what each shows.
  var snapshots: [[SnapshotExpectation]] = [[]]
  /// The persistent bitmaps.
  var bitmaps: [BitmapExpectation] = []
}

/// A snapshot, and what it shows.
struct SnapshotExpectation: Equatable {
  let name: String
  let contents: [UInt8]
}

/// What must be true of a persistent bitmap: if it is there and consistent, whatever differs from
/// the contents at its beginning is marked.
struct BitmapExpectation {
  let name: String
  /// What the guest saw when the bitmap began to record; as long as the disk will ever be.
  let base: SparseImage
  /// Whether it was stored, and nobody has begun to remove it.
  var mustExist = false

  /// The first byte that differs and is not marked, if there is one.
  func unmarkedChange(in contents: [UInt8], marked: [ByteRange]) -> Int? {
    var position = 0
    for run in marked + [ByteRange(contents.count, contents.count)] {
      let clear = ByteRange(position, max(position, min(run.lower, contents.count)))
      let old = base.bytes(clear)
      let new = contents.span.bytes.slice(clear)
      if let offset = old.span.bytes.firstDifference(from: new) { return clear.lower + offset }
      position = max(position, min(run.upper, contents.count))
    }
    return nil
  }
}
