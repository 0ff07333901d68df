internal import BlockLayer

/// The runtime options of qcow2: they are looked at, and those that steer QEMU's caches have no
/// part here.
enum Qcow2Settings {
  private static let flags = [
    "lazy-refcounts", "pass-discard-request", "pass-discard-snapshot", "pass-discard-other",
    "overlap-check.main-header", "overlap-check.active-l1", "overlap-check.active-l2",
    "overlap-check.refcount-table", "overlap-check.refcount-block",
    "overlap-check.snapshot-table", "overlap-check.inactive-l1", "overlap-check.inactive-l2",
    "overlap-check.bitmap-directory",
  ]
  private static let sizes = [
    "cache-size", "l2-cache-size", "l2-cache-entry-size", "refcount-cache-size",
    "cache-clean-interval",
  ]
  private static let checks = ["none", "constant", "cached", "all"]

  static func take(_ settings: inout NodeSettings) throws(BlockError) {
    for key in flags { _ = try settings.takeFlag(key) }
    for key in sizes { _ = try settings.takeSize(key) }
    for key in ["overlap-check", "overlap-check.template"] {
      guard let word = settings.take(key) else { continue }
      guard checks.contains(word) else {
        throw BlockError(
          .invalidArgument,
          "Unsupported value '\(OptionText.printable(word))' for qcow2 option 'overlap-check'. "
            + "Allowed are any of the following: none, constant, cached, all")
      }
    }
  }
}
