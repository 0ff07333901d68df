internal import BlockLayer
internal import DirtyBitmap

/// An action of a transaction whose effects are there, and can be undone.
///
/// | action          | prepared                   | commit         | abort                    |
/// |-----------------|----------------------------|----------------|--------------------------|
/// | add             | made                       | –              | deleted                  |
/// | clear, merge    | changed, old bits kept     | old bits freed | old bits back            |
/// | enable, disable | changed, old state kept    | –              | old state back           |
/// | remove          | busy; sealed: out of image | off the node   | usable; sealed: `putBack`|
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
    case .job(let job): job.commit()
    }
  }

  /// Undoes the effects in memory, those of later actions undone before.
  func abort() async {
    switch self {
    case .added(let node, let bitmap): node.bitmaps.drop(bitmap)
    case .changed(let bitmap, let old): bitmap.restore(old)
    case .switched(let bitmap, let wasEnabled): bitmap.restore(isEnabled: wasEnabled)
    case .removing(_, let bitmap): bitmap.cancelRemoval()
    case .job(let job): await job.abandon()
    }
  }

  /// Makes the images of `actions`, all of them undone in memory, as before, if sealing touched
  /// them.
  ///
  /// Not one by one: an image is stored as memory is, with what is not undone yet.
  static func putBack(_ actions: [PreparedAction]) async {
    var nodes: [BlockNode] = []
    for case .removing(let node, _) in actions where !nodes.contains(where: { $0 === node }) {
      nodes.append(node)
    }
    // Closing the node stores what is in memory anyhow, and tells if it cannot.
    for node in nodes { try? await node.storeBitmaps() }
  }
}
