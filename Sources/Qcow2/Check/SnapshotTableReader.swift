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

  private let isLenient: Bool
  /// Whether the table goes on beyond the largest size.
  private(set) var isTooLarge = false

  /// Starts before the first entry of the table at `offset`; takes entries with any extra data if
  /// it `isLenient`.
  init(_ offset: HostOffset, isLenient: Bool = false) {
    start = offset.value
    self.isLenient = isLenient
  }

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
    do throws(Qcow2FormatError) {
      let parsed = try SnapshotTableEntry.parse(
        at: position, in: window.span.bytes, index: index, takesAnyExtraData: isLenient)
      guard let (entry, end) = parsed else { return nil }
      guard byteCount + end - position <= FormatLimits.maximumSnapshotTableBytes else {
        throw Qcow2FormatError(.tooLarge, "Snapshot table is too big")
      }
      byteCount += end - position
      // The padding of the last entry may not be in the window.
      position = min(end, window.count)
      return entry
    } catch {
      isTooLarge = error.code == .tooLarge
      throw error
    }
  }
}
