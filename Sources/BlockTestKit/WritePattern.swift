public import Primitives

/// Test data that says where it comes from.
///
/// Every word of 8 bytes holds, from its highest bits down, the number of the write (24 bits), the
/// number of the sector (32 bits) and of the word in it (8 bits, counting from 1): so no two writes
/// and no two places look alike, and stray data can be told where it belongs.
public enum WritePattern {
  /// The bytes that write number `write` (1 or above) puts at `range`.
  public static func bytes(_ range: ByteRange, write: Int) -> [UInt8] {
    precondition((1..<1 << 24).contains(write), "a write's number has 24 bits and is not 0")
    var bytes = [UInt8](repeating: 0, count: range.count)
    var span = bytes.mutableSpan
    var raw = span.mutableBytes
    var offset = range.lower
    while offset < range.upper {
      let word = word(at: offset, write: write)
      if offset % 8 == 0, offset + 8 <= range.upper {
        raw.storeBigEndian(word, at: offset - range.lower)
        offset += 8
      } else {
        let byte = UInt8(truncatingIfNeeded: word >> UInt64(56 - offset % 8 * 8))
        raw.storeBigEndian(byte, at: offset - range.lower)
        offset += 1
      }
    }
    return bytes
  }

  /// Where the bytes around `offset` come from, as far as they tell: `write 7 of sector 3`.
  ///
  /// `bytes` are whole sectors that stand at `origin`, a multiple of the sector size.
  static func origin(of bytes: [UInt8], at offset: Int) -> String {
    let start = offset.roundedDown(to: 8)
    guard start + 8 <= bytes.count else { return "bytes at the end" }
    let word = bytes.span.bytes.bigEndian(UInt64.self, at: start)
    if word == 0 { return "zeros" }
    let sector = Int(word >> 8 & 0xffff_ffff)
    let inSector = start % Sector.size / 8
    guard Int(word & 0xff) == inSector + 1 else { return "bytes of no test pattern" }
    return "the data of write \(word >> 40) for sector \(sector)"
  }

  private static func word(at offset: Int, write: Int) -> UInt64 {
    let sector = UInt64(offset / Sector.size) & 0xffff_ffff
    return UInt64(write) << 40 | sector << 8 | UInt64(offset % Sector.size / 8 + 1)
  }
}
