internal import Primitives

/// Operations with another bitmap.
extension HierarchicalBitmap {
  /// Sets every granule that shares a byte with a dirty range of `other`: a coarser bitmap rounds
  /// outwards, a finer one takes the same bytes.
  ///
  /// QMP `block-dirty-bitmap-merge`.
  ///
  /// Throws `.differentSizes`, and changes nothing, when the disks are of different sizes.
  /// At equal granularity word by word, O(the words of `other` that hold set and clear granules),
  /// so that a sparse source is cheap whatever the target; otherwise O(runs of `other` × levels).
  public func merge(_ other: HierarchicalBitmap) throws(BitmapError) {
    guard size == other.size else {
      throw .differentSizes(destination: size, source: other.size)
    }
    if other === self { return }
    if shift == other.shift {
      words.merge(other.words)
    } else {
      mergeRuns(of: other)
    }
  }

  /// Runs of a finer bitmap that meet in a granule here are joined before they are set.
  private func mergeRuns(of other: HierarchicalBitmap) {
    var pending = (lower: 0, upper: 0)
    other.forEachRun { run in
      let lower = run.lower &>> shift
      let upper = (run.upper - 1) &>> shift + 1
      if lower > pending.upper {
        words.assign(true, pending.lower, pending.upper)
        pending.lower = lower
      }
      pending.upper = upper
    }
    words.assign(true, pending.lower, pending.upper)
  }

  /// Clears every granule that lies wholly in dirty ranges of `other`.
  ///
  /// Throws `.differentSizes`, and changes nothing, when the disks are of different sizes. O(runs
  /// of `other` × levels).
  public func subtract(_ other: HierarchicalBitmap) throws(BitmapError) {
    guard size == other.size else {
      throw .differentSizes(destination: size, source: other.size)
    }
    if other === self { return resetAll() }
    other.forEachRun { reset($0) }
  }

  /// A bitmap of the same size and granularity with the same granules set.
  ///
  /// Throws `.outOfMemory`. O(words that hold set and clear granules).
  public func copy() throws(BitmapError) -> HierarchicalBitmap {
    let copy = try HierarchicalBitmap(size: size, granularity: granularity)
    copy.words.merge(words)
    return copy
  }

  /// Whether the size, the granularity and the set granules are the same.
  ///
  /// O(words that hold set and clear granules).
  public func isEqual(to other: HierarchicalBitmap) -> Bool {
    guard size == other.size, shift == other.shift else { return false }
    return words.isEqual(other.words)
  }
}
