@testable import Qcow2

/// Streams made byte by byte, which no encoder of ours would make.
enum CraftedStream {
  /// One final deflate block that is stored as it is.
  static func stored(_ bytes: [UInt8]) -> [UInt8] {
    let count = UInt16(bytes.count)
    return [1] + littleEndian(count) + littleEndian(~count) + bytes
  }

  /// 32 KiB whose second 16 bytes of noise are a match over 20,016 bytes: a window of 15 bits.
  static let longMatch: [UInt8] = hex(
    "eddc311180200000403bb0b838716e1e6711a290803ca4a0010118cd420bcee13fc8b73ccefbed5709cf37634d07"
      + "00000000000000000000000000000000000000bfd07c710000000000000000000000005b2d")

  /// 512 times 0x41 with the header and the trailer of zlib.
  static let zlibWrapped: [UInt8] = hex("789c73741c05231900004a9e8201")

  /// A zstd frame of raw blocks, its window 2^`windowLog` bytes; without `isWhole` its last block
  /// is not marked so.
  static func frame(_ bytes: [UInt8], windowLog: Int = 20, isWhole: Bool = true) -> [UInt8] {
    let header = UInt32(bytes.count) << 3 | (isWhole ? 1 : 0)
    let window = UInt8(windowLog - 10) << 3
    return [0x28, 0xb5, 0x2f, 0xfd, 0, window] + littleEndian(header).prefix(3) + bytes
  }

  /// A frame of one repeated byte that comes to `count` bytes, at most 128 KiB.
  static func frame(repeating byte: UInt8, count: Int) -> [UInt8] {
    let header = UInt32(count) << 3 | 0b011
    return [0x28, 0xb5, 0x2f, 0xfd, 0, 80] + littleEndian(header).prefix(3) + [byte]
  }

  static func skippable(_ bytes: [UInt8]) -> [UInt8] {
    [0x50, 0x2a, 0x4d, 0x18] + littleEndian(UInt32(bytes.count)) + bytes
  }

  /// 512 times 0x41 with a checksum.
  static let checksummed: [UInt8] = hex("28b52ffd6400014d00001041410100fb2ac002691f09f2")

  static func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
    stride(from: 0, to: value.bitWidth, by: 8).map { UInt8(truncatingIfNeeded: value >> $0) }
  }

  static func hex(_ text: String) -> [UInt8] {
    let digits = Array(text)
    return stride(from: 0, to: digits.count, by: 2).map {
      UInt8(String(digits[$0...($0 + 1)]), radix: 16) ?? 0
    }
  }
}
