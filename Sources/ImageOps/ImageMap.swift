public import BlockLayer
public import Primitives

/// One run of an image's map: where its bytes come from, seen through the backing chain.
///
/// Source: qemu-img's manual page, "map".
public struct MapEntry: Equatable, Sendable {
  /// The first guest byte.
  public var start: Int
  /// The number of bytes.
  public var length: Int
  /// The layer that decides: 0 is the image, 1 its backing file, and so on.
  public var depth: Int
  /// Whether some layer decides at all.
  public var isPresent: Bool
  /// Whether the run reads as zeros.
  public var isZero: Bool
  /// Whether the deciding layer keeps bytes for the run.
  public var isData: Bool
  /// Where those bytes are in the layer's file, if they are there as they are.
  public var offset: Int?
  /// Whether they are compressed.
  public var isCompressed: Bool
}

extension BlockNode {
  /// The runs of `range` in order, merged where they continue each other; each is given to `body`.
  ///
  /// O(mapped runs); memory does not grow with the image.
  public func forEachMapEntry(
    in range: ByteRange, _ body: (MapEntry) throws(BlockError) -> Void
  ) async throws(BlockError) {
    var pending: MapEntry?
    var position = range.lower
    while position < range.upper {
      let chain = try await chainStatus(ByteRange(position, range.upper))
      let entry = MapEntry(start: position, chain)
      position += entry.length
      if let last = pending {
        if last.isContinued(by: entry) {
          pending?.length += entry.length
          continue
        }
        try body(last)
      }
      pending = entry
    }
    if let pending { try body(pending) }
  }

  /// All runs of the image.
  public func map() async throws(BlockError) -> [MapEntry] {
    var entries: [MapEntry] = []
    try await forEachMapEntry(in: ByteRange(0, length)) { entries.append($0) }
    return entries
  }
}

extension MapEntry {
  init(start: Int, _ chain: ChainStatus) {
    self.start = start
    length = chain.count
    depth = chain.depth
    isPresent = chain.status.isAllocated
    isZero = chain.status.isZero
    isData = chain.status.isData
    offset = chain.status.offset
    isCompressed = chain.status.isCompressed
  }

  func isContinued(by next: MapEntry) -> Bool {
    depth == next.depth && isPresent == next.isPresent && isZero == next.isZero
      && isData == next.isData && isCompressed == next.isCompressed
      && offset.map { $0 + length } == next.offset
  }
}
