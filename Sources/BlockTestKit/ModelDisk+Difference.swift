internal import Primitives

extension ModelDisk {
  /// The first byte that a read should not have found, and what might have been there.
  public struct Difference: Sendable, CustomStringConvertible {
    /// The guest offset of the byte.
    public let offset: Int
    /// The difference in words.
    public let description: String

    init(
      offset: Int, found: [UInt8], range: ByteRange, history: SectorHistory?, isAfterCrash: Bool,
      expected: [UInt8]
    ) {
      self.offset = offset
      let sector = offset / Sector.size
      let index = offset - range.lower
      let place = "byte 0x\(String(offset, radix: 16)) (sector \(sector))"
      let kind = { (bytes: [UInt8]) in
        // The pattern is told from whole sectors only: align the bytes with their sectors.
        let shift = range.lower % Sector.size
        let padded = [UInt8](repeating: 0, count: shift) + bytes
        return WritePattern.origin(of: padded, at: index + shift)
      }
      let origins =
        history.map { history in
          let versions = isAfterCrash ? history.versions[...] : history.versions.suffix(1)
          return versions.map(\.origin)
        } ?? ["what was flushed"]
      description =
        "\(place) is \(Difference.hex(found[index])), \(kind(found)); "
        + "expected \(origins.joined(separator: ", or "))"
        + (origins.count == 1
          ? ": \(Difference.hex(expected[index])), \(kind(expected))" : "")
    }

    private static func hex(_ byte: UInt8) -> String { "0x" + String(byte, radix: 16) }
  }
}
