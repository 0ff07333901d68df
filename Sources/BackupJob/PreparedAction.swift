internal import BlockLayer
internal import DirtyBitmap

/// An action of a transaction whose effects are there, and can be undone.
///
/// | action          | prepared                   | commit         | abort                    |
/// |-----------------|----------------------------|----------------|--------------------------|
/// | add             | made                       | –              | deleted                  |
/// | clear, merge    | changed, old bits kept     | old bits freed | old bits back            |
/// | enable, disable | changed, old state kept    | –              | old state back           |
/// | remove          | busy; sealed: out of image | off the node   | usable; stored as before |
/// | backup          | all but the start          | started        | cancelled                |
///
/// Only preparing and sealing can fail.
enum PreparedAction {
  case added(BlockNode, DirtyBitmap)
  case changed(DirtyBitmap, old: DirtyBitmap.SavedBits)
  case switched(DirtyBitmap, wasEnabled: Bool)
  case removing(BlockNode, DirtyBitmap)
  case job(Job)

  /// Does to the disk what cannot be taken back by memory alone, after all has been prepared.
  ///
  /// So a transaction that another action fails does not touch the image.
  func seal() async throws(JobError) {
    guard case .removing(let node, let bitmap) = self else { return }
    do {
      try await node.eraseStored(bitmap)
    } catch {
      throw .block(error)
    }
  }

  /// Makes the effects last.
  func commit() {
    switch self {
    case .added, .changed, .switched: break
    case .removing(let node, let bitmap): node.bitmaps.drop(bitmap)
    case .job(let job): job.start()
    }
  }

  /// Undoes the effects, those of later actions undone before.
  ///
  /// `isSealed`: sealing was tried.
  func abort(isSealed: Bool) async {
    switch self {
    case .added(let node, let bitmap): node.bitmaps.drop(bitmap)
    case .changed(let bitmap, let old): bitmap.restore(old)
    case .switched(let bitmap, let wasEnabled): bitmap.restore(isEnabled: wasEnabled)
    case .removing(let node, let bitmap):
      bitmap.cancelRemoval()
      // Closing the node stores what is in memory anyhow, and tells if it cannot.
      if isSealed { try? await node.storeBitmaps() }
    case .job(let job): await job.abandon()
    }
  }
}
