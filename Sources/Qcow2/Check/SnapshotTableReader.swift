internal import Primitives

/// Takes the entries of a snapshot table one by one from pieces of the file, so that a table of
/// 64 MiB needs no such memory.
///
/// It does no I/O: it says which piece it wants.
struct SnapshotTableReader {
  /// The bytes that are read and not parsed yet.
  private var window: [UInt8] = []
  private var position = 0
  private let start: Int
  /// The size of the entries so far, with the padding between them.
  private(set) var byteCount = 0

  /// Starts before the first entry of the table at `offset`.
  init(_ offset: HostOffset) { start = offset.value }

  /// The next piece of the file to be given to `append`; nil when it is beyond the largest offset.
  var wantedPiece: ByteRange? {
    let read = byteCount.addingClamped(window.count - position)
    guard let range = ByteRange(checkedOffset: start, count: read) else { return nil }
    return ByteRange(checkedOffset: range.upper, count: 1 << 16)
  }

  /// Takes the bytes of the wanted piece.
  mutating func append(_ bytes: RawSpan) {
    window.removeFirst(position)
    position = 0
    window.append(contentsOf: bytes.toArray())
  }

  /// The next entry, the `index`-th of the table; nil when more of the file is needed first.
  mutating func next(_ index: Int) throws(Qcow2FormatError) -> SnapshotTableEntry? {
    let parsed = try SnapshotTableEntry.parse(at: position, in: window.span.bytes, index: index)
    guard let (entry, end) = parsed else { return nil }
    byteCount += end - position
    // The padding of the last entry may not be in the window.
    position = min(end, window.count)
    guard byteCount <= FormatLimits.maximumSnapshotTableBytes else {
      throw Qcow2FormatError(.tooLarge, "Snapshot table is too big")
    }
    return entry
  }
}
