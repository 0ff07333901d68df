internal import BlockLayer
internal import Primitives

/// The bitmap directory, the tables that it names, and what they name.
extension ConsistencyCheck {
  /// Counts all clusters of the bitmaps.
  ///
  /// Bitmaps that a foreign writer made stale are no part of the image: their clusters are leaks.
  mutating func walkBitmaps() async throws(CheckStop) {
    if case .invalid(let error) = cluster.extensions.bitmapsDefect {
      noteInvalidBitmaps(error.message)
    }
    guard let bitmaps = cluster.extensions.bitmaps, let range = bitmaps.directoryRange else {
      return
    }
    try claimRange(range, .bitmapDirectory)
    guard let bytes = try await loadDirectory(range) else { return }
    let entries: [BitmapDirectoryEntry]
    do throws(Qcow2FormatError) {
      entries = try BitmapDirectory.parse(
        bytes.span.bytes, bitmapCount: bitmaps.bitmapCount, geometry: geometry,
        virtualSize: header.virtualSize)
    } catch {
      noteInvalidBitmaps(error.message)
      return
    }
    for entry in entries { try await walkBitmap(entry) }
  }

  private mutating func noteInvalidBitmaps(_ message: String) {
    needs.bitmapsGone = true
    log.add(.bitmapsInvalid(message))
    log.setIncomplete()
  }

  /// The bytes of the directory, at most up to where it can no longer be sound.
  private mutating func loadDirectory(_ range: ByteRange) async throws(CheckStop) -> [UInt8]? {
    var bytes: [UInt8] = []
    var buffer = IOBuffer(byteCount: min(pieceByteCount, range.count))
    var position = range.lower
    while position < range.upper {
      let piece = piece(of: range, at: position)
      switch try await load(piece, .bitmapDirectory, into: &buffer) {
      case .bytes:
        bytes += buffer.bytes.slice(ByteRange(0, piece.count)).toArray()
      case .zeros:
        // No entry is that long without a byte that is not zero: what follows is not read.
        return bytes + [UInt8](repeating: 0, count: piece.count)
      case .failed: return nil
      }
      position += piece.count
    }
    return bytes
  }

  private mutating func walkBitmap(_ bitmap: BitmapDirectoryEntry) async throws(CheckStop) {
    guard let range = bitmap.tableRange else { return }
    let isCounted = !isOutside(range)
    var overlaps = OverlapNotes()
    var dataOverlaps = OverlapNotes()
    var last: BitmapTableEntry?
    var buffer = IOBuffer(byteCount: min(pieceByteCount, range.count))
    var position = range.lower
    while position < range.upper {
      let piece = piece(of: range, at: position)
      let loaded = try await loadAndClaim(
        piece, .bitmapTable, isCounted: isCounted, &overlaps, into: &buffer)
      if case .bytes = loaded {
        let bytes = buffer.bytes.slice(ByteRange(0, piece.count))
        last = countEntries(bytes, at: position - range.lower, of: bitmap, &dataOverlaps)
      } else {
        last = nil
      }
      position += piece.count
    }
    if let last { try await checkTail(of: bitmap, last) }
  }

  /// Counts the clusters that a piece of a bitmap's table names; answers its last entry.
  private mutating func countEntries(
    _ bytes: RawSpan, at offset: Int, of bitmap: BitmapDirectoryEntry,
    _ overlaps: inout OverlapNotes
  ) -> BitmapTableEntry? {
    var last: BitmapTableEntry?
    for index in 0..<bytes.byteCount / 8 {
      let entry = BitmapTableEntry(rawValue: bytes.bigEndian(UInt64.self, at: index * 8))
      last = entry
      if entry.rawValue == 0 { continue }
      switch entry.kind(geometry: geometry) {
      case .data(let place):
        let range = ByteRange(offset: place.value, count: geometry.clusterSize)
        guard !isOutside(range) else { continue }
        claim(place.value >> geometry.clusterBits, .bitmapData, references: 1, &overlaps)
      case .allZeros, .allOnes: continue
      case nil:
        log.add(
          .bitmapEntryInvalid(
            bitmap: bitmap.name, index: offset / 8 + index, entry: entry.rawValue))
        log.setIncomplete()
      }
    }
    return last
  }

  /// Reports bits behind the last granule; `last` is the last entry of the bitmap's table.
  ///
  /// A bitmap in use is not looked at: nothing of it can be trusted.
  private mutating func checkTail(
    of bitmap: BitmapDirectoryEntry, _ last: BitmapTableEntry
  ) async throws(CheckStop) {
    let sizes = BitmapSizes(
      virtualSize: header.virtualSize, granularityBits: bitmap.granularityBits)
    guard !bitmap.flags.contains(.inUse), case .data(let place) = last.kind(geometry: geometry),
      place.value < fileLength
    else { return }
    let bits = sizes.bitCount - (bitmap.tableEntryCount - 1) << (geometry.clusterBits + 3)
    guard bits > 0, bits < geometry.clusterSize * 8 else { return }
    // Whole words: QEMU writes and ignores them so.
    let start = bits / 8
    let range = ByteRange(place.value + start, place.value + geometry.clusterSize)
    var buffer = IOBuffer(byteCount: range.count)
    guard case .bytes = try await load(range, .bitmapData, into: &buffer) else { return }
    let tail = buffer.bytes
    let isFirstClear = tail.bigEndian(UInt8.self, at: 0) >> UInt8(bits & 7) == 0
    let rest = tail.slice(ByteRange(1, tail.byteCount))
    guard isFirstClear, rest.isZero else {
      log.add(.bitmapTail(bitmap: bitmap.name))
      return
    }
  }
}
