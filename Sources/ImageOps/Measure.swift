public import BlockLayer
internal import DirtyBitmap
internal import Primitives

extension ImageMeasurer {
  /// How large an image with the contents of `source` becomes.
  ///
  /// Counted as the guest sees them: what is known to be zero, in any layer, takes no space.
  /// O(runs of the source); no data is read.
  ///
  /// Source: qemu-img's manual page, "measure".
  public func measure(_ source: BlockNode) async throws(BlockError) -> ImageMeasure {
    try await measure(source, bitmapsOf: source)
  }

  /// How large an image with the contents of `source` and the bitmaps of `image` becomes: of one of
  /// an image's snapshots, say, and of the image.
  public func measure(
    _ source: BlockNode, bitmapsOf image: BlockNode
  ) async throws(BlockError) -> ImageMeasure {
    let dataByteCount =
      hasBacking
      ? source.length.roundedUp(to: unit) : try await dataByteCount(of: source)
    var contents = MeasuredContents(length: source.length, dataByteCount: dataByteCount)
    if let store = image.dataNode.driver as? any PersistentBitmapStore, store.holdsBitmaps {
      contents.bitmaps = image.dataNode.bitmaps.all.map(\.info).filter(\.isPersistent)
    }
    return try measure(contents)
  }

  /// The units with a byte that is not known to be zero.
  private func dataByteCount(of source: BlockNode) async throws(BlockError) -> Int {
    var dataByteCount = 0
    var counted = 0
    var position = 0
    while position < source.length {
      let answer = try await source.chainStatus(ByteRange(position, source.length))
      let run = ByteRange(offset: position, count: answer.count)
      position = run.upper
      guard !answer.status.isZero else { continue }
      let lower = max(run.lower.roundedDown(to: unit), counted)
      counted = max(run.upper.roundedUp(to: unit), counted)
      dataByteCount += counted - lower
    }
    return dataByteCount
  }

  /// How large an image of a disk of `length` bytes, none of them written, becomes.
  public func measure(length: Int) throws(BlockError) -> ImageMeasure {
    try measure(MeasuredContents(length: length, dataByteCount: 0))
  }
}
