import BlockLayer
import Primitives

/// What a guest sees of the beginning of its disk, sector by sector.
struct GuestView {
  /// What is in each sector; nil where nobody knows.
  var sectors: [[UInt8]?]

  static let sectorSize = 512

  /// Reads the disk: in one request, or, when that fails, by sectors.
  init(of door: BlockBackend) async {
    let count = min(door.length, SmallImage.diskSize) / Self.sectorSize
    sectors = Array(repeating: nil, count: count)
    if let all = try? await door.read(at: 0, count: count * Self.sectorSize) {
      for index in 0..<count { sectors[index] = Self.sector(index, of: all) }
    } else {
      for index in 0..<count {
        sectors[index] = try? await door.read(
          at: index * Self.sectorSize, count: Self.sectorSize)
      }
    }
  }

  private static func sector(_ index: Int, of bytes: [UInt8]) -> [UInt8] {
    Array(bytes[index * sectorSize..<(index + 1) * sectorSize])
  }

  /// The sectors of a request.
  static func numbers(_ range: ByteRange) -> Range<Int> {
    range.lower / sectorSize..<range.upper.dividedRoundingUp(by: sectorSize)
  }

  /// Puts in what a request made of its sectors; nil: nobody knows.
  mutating func set(_ range: ByteRange, _ byte: UInt8?) {
    for index in Self.numbers(range) where index < sectors.count {
      sectors[index] = byte.map { Array(repeating: $0, count: Self.sectorSize) }
    }
  }

  /// The first sector of which both know something, and not the same.
  func firstDifference(from other: GuestView) -> Int? {
    for index in 0..<min(sectors.count, other.sectors.count) {
      if let mine = sectors[index], let theirs = other.sectors[index], mine != theirs {
        return index
      }
    }
    return nil
  }
}
