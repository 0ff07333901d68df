internal import BlockLayer
internal import DirtyBitmap
internal import Primitives

/// What the user's bitmap becomes when a backup ends: the one table.
///
/// During the job the bitmap is frozen with what was dirty at the start (B0), and a successor
/// records what guests write (W). R is what the job has not copied.
enum BitmapOutcome: Equatable {
  /// W: the successor takes the bitmap's place.
  case written
  /// B0 ∪ W: the successor is merged back.
  case everything
  /// R ∪ W: as little as a backup must have that goes on from the unfinished one.
  case remaining

  /// The table.
  ///
  /// Where the target failed to make durable what it has, nothing counts as copied.
  static func after(
    _ ending: JobEnding, _ mode: BackupSpec.BitmapMode, isTargetDurable: Bool = true
  ) -> BitmapOutcome {
    switch (mode, ending) {
    case (.onSuccess, .success): .written
    case (.onSuccess, .failure), (.onSuccess, .cancel): .everything
    case (.never, _): .everything
    case (.always, .success): .written
    case (.always, .failure), (.always, .cancel): isTargetDurable ? .remaining : .everything
    }
  }

  /// Whether it counts on what an unfinished job has copied.
  var needsDurableTarget: Bool { self == .remaining }

  /// Gives the bitmap its contents, and its user.
  ///
  /// Called while the source is drained. `pending` are the runs that the job has not copied.
  func apply(to bitmap: DirtyBitmap, of node: BlockNode, pending: [ByteRange]) {
    switch self {
    case .everything:
      #if MUTANT_BITMAP_NOT_MERGED_BACK
      bitmap.abdicate()
      #else
      bitmap.reclaim()
      #endif
    case .written:
      bitmap.abdicate()
      node.bitmaps.moveToFront(bitmap)
    case .remaining:
      bitmap.abdicate(adding: pending)
      node.bitmaps.moveToFront(bitmap)
    }
  }
}
