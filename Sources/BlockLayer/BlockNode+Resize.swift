internal import DirtyBitmap
internal import Synchronization

/// Changing a node's length.
extension BlockNode {
  /// Gives the node another length; its bitmaps follow, and growth dirties nothing.
  ///
  /// No request may be under way. Throws `readOnly`, `unsupported`, the refusal of a bitmap, or the
  /// driver's failure; the bitmaps then have the length that the node has.
  public func resize(to length: Int) async throws(BlockError) {
    guard !isReadOnly else {
      throw BlockError(.readOnly, "Block node is read-only", node: name)
    }
    try checkHealthy()
    guard let image = driver as? any ResizableImage else {
      throw BlockError(
        .unsupported, "\(driver.driverName) cannot be resized; only its format could be",
        node: name)
    }
    guard length >= 0 else {
      throw BlockError(.invalidArgument, "Parameter 'size' expects a >0 size", node: name)
    }
    try checkResizable(to: length)
    do {
      try await image.resize(to: length)
    } catch {
      bitmaps.follow(nodeLength: driver.length)
      throw error.at(node: name)
    }
    bitmaps.follow(nodeLength: driver.length)
    writes.add(1, ordering: .releasing)
  }

  /// Throws the refusal of a bitmap to have another length, or to be stored with it.
  func checkResizable(to length: Int) throws(BlockError) {
    // The bits of a cut-off end must not be lost while the driver can still fail.
    try bitmaps.checkResizable(to: length)
    guard let store = driver as? any PersistentBitmapStore else { return }
    for bitmap in bitmaps.all where bitmap.isPersistent {
      do {
        try store.checkStorable(granularity: bitmap.granularity, length: length)
      } catch {
        throw error.prefixed("Cannot keep bitmap '\(bitmap.name ?? "")' at that size")
      }
    }
  }
}
