internal import Primitives

extension HierarchicalBitmap {
  /// Makes the bitmap describe a disk of `newSize` bytes.
  ///
  /// QMP `block_resize`.
  ///
  /// Granules that are added are clear. Granules wholly beyond a new, smaller size are gone for
  /// good; one that the new end cuts keeps its bit, and stands for what is left of it.
  ///
  /// Throws what `init(size:granularity:)` throws, and changes nothing then. O(words that hold set
  /// and clear granules).
  public func resize(to newSize: Int) throws(BitmapError) {
    if newSize == size { return }
    let replacement = try HierarchicalBitmap.reserve(size: newSize, granularity: granularity)
    if replacement.granuleCount < granuleCount {
      words.assign(false, replacement.granuleCount, granuleCount)
    }
    words.copyGranules(to: replacement)
    words.replace(by: replacement)
  }
}

extension BitmapWords {
  /// Sets in `other`, which is clear, the granules that are set here; it has a bit for each of
  /// them.
  ///
  /// The two may differ in levels, so mixed regions pass through the serialised form, a piece at a
  /// time; set regions become ranges, and clear ones are passed over.
  func copyGranules(to other: BitmapWords) {
    let pieceWords = 512
    withUnsafeTemporaryAllocation(byteCount: pieceWords * 8, alignment: 8) { piece in
      guard let buffer = piece.baseAddress else { return }
      var position = firstSet(0, granuleCount)
      while position < granuleCount {
        let word = position &>> 6
        let endWord = min(word + pieceWords, wordCount(0), other.wordCount(0))
        let clear = firstClear(position, granuleCount)
        if clear > endWord &<< 6 {
          other.assign(true, position, clear)
          position = clear
        } else {
          store(word, endWord, to: buffer)
          _ = other.load(word, endWord, from: buffer)
          position = min(endWord &<< 6, granuleCount)
        }
        position = firstSet(position, granuleCount)
      }
    }
  }
}
