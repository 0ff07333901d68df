internal import BlockLayer
internal import DirtyBitmap
internal import Primitives

/// What each sync mode copies.
extension BackupSpec.Sync {
  /// Whether the job ends by itself.
  var isFinite: Bool { self != .none }

  /// Marks in the engine what is to be copied, as far as it is known at once.
  ///
  /// Called while the source is drained, with the bitmap not yet frozen.
  func mark(_ engine: CopyEngine, from bitmap: DirtyBitmap?) throws(JobError) {
    switch self {
    case .full, .top, .none:
      engine.markAll()
    case .incremental, .bitmap:
      guard let bitmap else { preconditionFailure("sync mode '\(rawValue)' has a bitmap") }
      do {
        try bitmap.withBits { bits throws(BitmapError) in try engine.mark(bits) }
      } catch {
        throw JobError(.bitmap, error.message, cause: error)
      }
    }
  }
}

extension CopyEngine {
  /// Takes off the list every cluster of which the source's top layer has nothing.
  ///
  /// Guests may write meanwhile: what they overwrite is saved, at worst needlessly. `goesOn` is
  /// asked before each step.
  func unmarkUnallocated(
    in source: BlockNode, while goesOn: () async -> Bool
  ) async throws(BlockError) {
    let step = 1 << 30
    var position = 0
    var unallocatedFrom: Int?  // runs of several answers meet in a cluster
    while position < length, await goesOn() {
      let window = ByteRange(position, length).prefix(step)
      let answer = try await source.chainStatus(window, downTo: source)
      if answer.status.isAllocated {
        if let from = unallocatedFrom { unmark(ByteRange(from, position)) }
        unallocatedFrom = nil
      } else if unallocatedFrom == nil {
        unallocatedFrom = position
      }
      position += answer.count
    }
    if position == length, let from = unallocatedFrom { unmark(ByteRange(from, length)) }
  }
}
