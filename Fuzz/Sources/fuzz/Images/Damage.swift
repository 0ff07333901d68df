import Primitives

/// What the fuzzer's bytes do to a small image.
struct Damage {
  /// Numbers that are at the edge of something.
  private static let edges: [UInt64] = [
    0, 1, 7, 8, 0x1ff, 0x200, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 1 << 55, 1 << 56,
    1 << 62, .max >> 1, 1 << 63, .max, .max - 0x1ff, 0x00ff_ffff_ffff_fe00, 0x7000_0000_0000, 512,
  ]

  /// Overwrites parts of `image` as `reader` says: first how many, then which and with what.
  static func apply(
    _ reader: inout InputReader, to image: SmallImage
  ) -> [UInt8] {
    var bytes = image.contents
    for _ in 0..<Int(reader.byte() % 12) {
      let choice = reader.byte()
      let base = image.places[Int(choice & 15) % image.places.count]
      let offset = reader.index(below: base == 0 ? 256 : image.clusterSize)
      change(&bytes, at: base + offset, how: choice >> 4, &reader, image)
    }
    // Perhaps cut off, or longer than it says.
    switch reader.byte() {
    case 1: bytes = Array(bytes.prefix(reader.index(below: bytes.count + 1)))
    case 2: bytes += Array(repeating: UInt8(0), count: reader.index(below: 8192))
    default: break
    }
    return bytes
  }

  private static func change(
    _ bytes: inout [UInt8], at offset: Int, how: UInt8, _ reader: inout InputReader,
    _ image: SmallImage
  ) {
    let aligned = offset & ~7
    switch how {
    case 0, 1: put(reader.number(1), 1, at: offset, in: &bytes)
    case 2: put(reader.number(2), 2, at: offset & ~1, in: &bytes)
    case 3, 4: put(reader.number(4), 4, at: offset & ~3, in: &bytes)
    case 5: put(reader.number(8), 8, at: aligned, in: &bytes)
    case 6, 7, 8, 9:  // an entry that points somewhere near
      let flags = UInt64(reader.byte())
      let cluster = UInt64(reader.byte()) * UInt64(image.clusterSize)
      put(cluster | (flags & 0xc0) << 56 | flags & 0x3f, 8, at: aligned, in: &bytes)
    case 10, 11: put(edges[Int(reader.byte()) % edges.count], 8, at: aligned, in: &bytes)
    case 12: put(edges[Int(reader.byte()) % edges.count], 4, at: offset & ~3, in: &bytes)
    case 13: flip(1 << (reader.byte() & 7), at: offset, in: &bytes)
    case 14:  // what stands elsewhere
      let from = image.places[Int(reader.byte()) % image.places.count] + Int(reader.byte())
      for index in 0..<8 where from + index < bytes.count {
        put(UInt64(bytes[from + index]), 1, at: aligned + index, in: &bytes)
      }
    default:
      for index in 0..<Int(reader.byte()) { put(0, 1, at: offset + index, in: &bytes) }
    }
  }

  private static func put(
    _ value: UInt64, _ byteCount: Int, at offset: Int, in bytes: inout [UInt8]
  ) {
    for index in 0..<byteCount where offset + index < bytes.count {
      bytes[offset + index] = UInt8(
        truncatingIfNeeded: value >> UInt64(8 * (byteCount - 1 - index)))
    }
  }

  private static func flip(_ bit: UInt8, at offset: Int, in bytes: inout [UInt8]) {
    if offset < bytes.count { bytes[offset] ^= bit }
  }
}
