public import BlockLayer
public import DirtyBitmap

/// Copying the persistent bitmaps of one image to another: qemu-img's `convert --bitmaps`.
///
/// Source: qemu-img's manual page, "convert".
public struct BitmapCopy: Sendable {
  /// The bitmaps that are copied, the newest first: added in this order, the target's directory has
  /// the order of the source's.
  public let bitmaps: [DirtyBitmap]
  /// The names of inconsistent ones, which are left out.
  public let skipped: [String]

  /// The persistent bitmaps of the image `source` itself, not of those below it.
  ///
  /// Throws for an image that has no room for bitmaps, and for an inconsistent one, whose bits say
  /// nothing, unless `skipsInconsistent`.
  public init(of source: BlockNode, skipsInconsistent: Bool = false) throws(BlockError) {
    guard let store = source.driver as? any PersistentBitmapStore, store.holdsBitmaps else {
      throw BlockError(.unsupported, "Source lacks bitmap support", node: source.name)
    }
    let all = source.bitmaps.all.filter(\.isPersistent)
    bitmaps = all.filter { !$0.isInconsistent }
    skipped = all.filter(\.isInconsistent).compactMap(\.name)
    if let name = skipped.first, !skipsInconsistent {
      throw BlockError(
        .bitmap, "Cannot copy inconsistent bitmap '\(OpenPolicy.printable(name))'",
        node: source.name)
    }
  }

  /// Throws when `target` cannot take all of them, before anything is changed.
  public func check(_ target: BlockNode) throws(BlockError) {
    guard let store = target.driver as? any PersistentBitmapStore, store.holdsBitmaps else {
      throw BlockError(
        .unsupported, "Format driver '\(target.driver.driverName)' does not support bitmaps",
        node: target.name)
    }
    for bitmap in bitmaps {
      let name = bitmap.name ?? ""
      let shown = OpenPolicy.printable(name)
      guard target.bitmaps.find(name) == nil else {
        throw BlockError(
          .alreadyExists, "Failed to create bitmap \(shown): Bitmap already exists: \(shown)",
          node: target.name)
      }
      guard bitmap.size == target.length else {
        throw BlockError(
          .bitmap,
          "Failed to populate bitmap \(shown): Bitmaps are of different sizes (destination size "
            + "is \(target.length), source size is \(bitmap.size)) and can't be merged",
          node: target.name)
      }
    }
  }

  /// Adds them to `target`: the same names, granularities, bits, and whether they record.
  ///
  /// For a target whose contents are written already: what is written then is in no bitmap. They
  /// reach the image when it is closed.
  public func perform(to target: BlockNode) throws(BlockError) {
    try check(target)
    for bitmap in bitmaps {
      let name = bitmap.name ?? ""
      let copy: DirtyBitmap
      do throws(BlockError) {
        copy = try target.addBitmap(
          name, granularity: bitmap.info.granularity, persistent: true,
          disabled: !bitmap.isEnabled)
      } catch {
        throw error.prefixed("Failed to create bitmap \(OpenPolicy.printable(name))")
      }
      do throws(BitmapError) {
        try copy.merge(bitmap)
      } catch {
        throw BlockError(
          .bitmap,
          "Failed to populate bitmap \(OpenPolicy.printable(name)): \(error.message)",
          node: target.name, cause: error)
      }
    }
  }
}
