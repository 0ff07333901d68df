internal import DirtyBitmap
public import Primitives
internal import Synchronization

/// Changing a node's length.
extension BlockNode {
  /// Gives the node another length; its bitmaps follow, and growth dirties nothing.
  ///
  /// What lies beyond a smaller length is lost, which `mayShrink` has to allow. What is new has
  /// space as `preallocation` says. No request may be under way. Throws `readOnly`, `unsupported`,
  /// `invalidArgument`, the refusal of a bitmap, or the driver's failure; the bitmaps then have the
  /// length that the node has.
  public func resize(
    to length: Int, mayShrink: Bool = false, preallocation: Preallocation = .off
  ) async throws(BlockError) {
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
    try checkShrinking(to: length, mayShrink, preallocation)
    try checkResizable(to: length)
    do {
      if preallocation == .off {
        try await image.resize(to: length)
      } else {
        try await image.grow(to: length, preallocation)
      }
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

  private func checkShrinking(
    to length: Int, _ mayShrink: Bool, _ preallocation: Preallocation
  ) throws(BlockError) {
    guard length < self.length else { return }
    guard mayShrink else {
      throw BlockError(
        .invalidArgument,
        "a length of \(length) bytes would delete all data beyond it: shrinking has to be allowed",
        node: name)
    }
    guard preallocation == .off else {
      throw BlockError(
        .invalidArgument, "Preallocation can only be used for growing images", node: name)
    }
  }

  /// Reserves space of the host for `range`; what it holds stays.
  ///
  /// Throws `unsupported` where the driver cannot.
  public func reserveSpace(_ range: ByteRange) async throws(BlockError) {
    guard !range.isEmpty else { return }
    try checkWritable(range)
    guard let driver = dataNode.driver as? any SpaceReserving else {
      throw BlockError(.unsupported, "Unsupported preallocation mode: falloc", node: name)
    }
    do {
      try await driver.reserveSpace(range)
    } catch {
      throw error.at(node: name, range)
    }
    writes.add(1, ordering: .releasing)
  }
}
