import BlockLayer
import Primitives

/// What a guest sees of the beginning of its disk, sector by sector.
struct GuestView {
  static let sectorSize = 512

  /// The disk's bytes; any where nobody knows.
  private var bytes: [UInt8]
  /// Of which sectors the contents are known.
  private var isKnown: [Bool]

  /// Reads the disk: in one request, or, where that fails, in halves, down to sectors.
  init(of door: BlockBackend) async {
    let count = min(door.length, SmallImage.diskSize) / Self.sectorSize
    bytes = Array(repeating: 0, count: count * Self.sectorSize)
    isKnown = Array(repeating: false, count: count)
    await read(0..<count, of: door)
  }

  private mutating func read(_ sectors: Range<Int>, of door: BlockBackend) async {
    guard !sectors.isEmpty else { return }
    let range = ByteRange(
      offset: sectors.lowerBound * Self.sectorSize, count: sectors.count * Self.sectorSize)
    var buffer = IOBuffer(byteCount: range.count)
    var part = buffer.mutableBytes
    if (try? await door.read(range, into: &part)) != nil {
      var target = bytes.mutableSpan
      var targetBytes = target.mutableBytes
      targetBytes.copy(from: part.bytes, at: range.lower)
      mark(sectors, isKnown: true)
    } else if sectors.count > 1 {
      let middle = (sectors.lowerBound + sectors.upperBound) / 2
      await read(sectors.lowerBound..<middle, of: door)
      await read(middle..<sectors.upperBound, of: door)
    }
  }

  private mutating func mark(_ sectors: Range<Int>, isKnown isNowKnown: Bool) {
    for index in sectors { isKnown[index] = isNowKnown }
  }

  /// The beginning of a sector, for messages; empty where nobody knows.
  func beginning(of sector: Int) -> ArraySlice<UInt8> {
    isKnown[sector] ? bytes[sector * Self.sectorSize..<sector * Self.sectorSize + 8] : []
  }

  /// Puts in what a request made of its sectors; nil: nobody knows.
  mutating func set(_ range: ByteRange, _ byte: UInt8?) {
    let first = range.lower / Self.sectorSize
    let end = min(range.upper.dividedRoundingUp(by: Self.sectorSize), isKnown.count)
    guard first < end else { return }
    mark(first..<end, isKnown: byte != nil)
    guard let byte else { return }
    var target = bytes.mutableSpan
    var targetBytes = target.mutableBytes
    targetBytes.fill(ByteRange(first * Self.sectorSize, end * Self.sectorSize), with: byte)
  }

  /// Nobody knows any more what is behind `offset`.
  mutating func forget(from offset: Int) { set(ByteRange(offset, .max), nil) }

  /// The first sector of which both know something, and not the same.
  func firstDifference(from other: GuestView) -> Int? {
    let end = min(bytes.count, other.bytes.count)
    var position = 0
    while position < end {
      let rest = ByteRange(position, end)
      let mine = bytes.span.bytes.slice(rest)
      guard let offset = mine.firstDifference(from: other.bytes.span.bytes.slice(rest)) else {
        return nil
      }
      let sector = (position + offset) / Self.sectorSize
      if isKnown[sector], other.isKnown[sector] { return sector }
      position = (sector + 1) * Self.sectorSize
    }
    return nil
  }

  /// Ends the process where `later`, which both know, is not what it was.
  func requireSame(_ later: GuestView) {
    guard let sector = firstDifference(from: later) else { return }
    fatalError(
      "sector \(sector) was \(beginning(of: sector)), and is \(later.beginning(of: sector))")
  }
}
