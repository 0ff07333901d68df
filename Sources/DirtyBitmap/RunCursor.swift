public import Primitives

/// A place in a bitmap that moves from run to run while bits change behind it and before it.
///
/// It remembers only how far it came: bits set before it are found when it gets there, bits cleared
/// there are not, and what happens behind it does not matter. It holds no bitmap, so that an owner
/// can lock, take a step, and unlock.
public struct RunCursor: Sendable {
  /// The bytes to be walked.
  public let window: ByteRange
  /// The first byte that has not been passed; may be set to walk some bytes again or skip some.
  public var position: Int

  /// Makes a cursor at the start of `window`.
  public init(_ window: ByteRange) {
    self.window = window
    position = window.lower
  }

  /// The next run of dirty bytes, at most `maxLength` of them (above zero), or nil at the end,
  /// where the cursor then stands.
  ///
  /// O(levels).
  public mutating func next(
    in bitmap: HierarchicalBitmap, maxLength: Int = .max
  ) -> ByteRange? {
    let rest = ByteRange(min(position, window.upper), window.upper)
    let run = bitmap.nextRun(in: rest, maxLength: maxLength)
    position = run?.upper ?? window.upper
    return run
  }
}
