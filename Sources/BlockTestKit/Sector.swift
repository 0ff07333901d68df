internal import Primitives

/// The unit in which a simulated disk is atomic: 512 bytes, old or new but never a mixture.
public enum Sector {
  /// The size in bytes.
  public static var size: Int { 512 }

  /// The numbers of the sectors that share a byte with `range`.
  static func numbers(in range: ByteRange) -> Range<Int> {
    range.isEmpty ? 0..<0 : range.lower / size..<range.upper.dividedRoundingUp(by: size)
  }

  /// The bytes of the sector with that number.
  static func range(_ number: Int) -> ByteRange { ByteRange(offset: number * size, count: size) }
}

/// The contents of one sector, with a hash that is the same in every process.
struct SectorContent: Hashable, Sendable {
  /// The bytes; none stand for zeros.
  let bytes: [UInt8]
  /// 0 for zeros.
  let stableHash: UInt64

  /// A sector of zeros.
  static let zeros = SectorContent(bytes: [], stableHash: 0)

  private init(bytes: [UInt8], stableHash: UInt64) {
    self.bytes = bytes
    self.stableHash = stableHash
  }

  /// The content of a whole sector, or of the shorter one at the end of a disk.
  init(_ bytes: RawSpan) {
    self =
      bytes.isZero
      ? .zeros : SectorContent(bytes: bytes.toArray(), stableHash: StableHash.of(bytes))
  }

  var isZero: Bool { bytes.isEmpty }

  /// The content with zeros in place of all but the first `count` bytes.
  func prefix(_ count: Int) -> SectorContent {
    guard count < bytes.count else { return self }
    let kept = max(count, 0)
    let cut = bytes.prefix(kept) + [UInt8](repeating: 0, count: bytes.count - kept)
    return SectorContent(Array(cut).span.bytes)
  }

  /// What a sector of this content adds to the signature of an image, wherever else it differs.
  func signature(at number: Int) -> UInt64 {
    isZero ? 0 : StableHash.mix(UInt64(number) &+ 1, stableHash)
  }

  static func == (left: SectorContent, right: SectorContent) -> Bool {
    left.stableHash == right.stableHash && left.bytes == right.bytes
  }

  func hash(into hasher: inout Hasher) { hasher.combine(stableHash) }
}

/// A hash that is the same in every process, unlike `Hasher`'s.
enum StableHash {
  /// Stirs one number into another.
  static func mix(_ left: UInt64, _ right: UInt64) -> UInt64 {
    var mixed = left &* 0x9E37_79B9_7F4A_7C15 ^ right
    mixed = (mixed ^ (mixed >> 32)) &* 0xD6E8_FEB8_6659_FD93
    mixed = (mixed ^ (mixed >> 32)) &* 0xD6E8_FEB8_6659_FD93
    return mixed ^ (mixed >> 32)
  }

  /// The hash of some bytes; zeros at their end count.
  static func of(_ bytes: RawSpan) -> UInt64 {
    var hash = UInt64(bytes.byteCount)
    var offset = 0
    while offset + 8 <= bytes.byteCount {
      hash = mix(hash, bytes.littleEndian(UInt64.self, at: offset))
      offset += 8
    }
    while offset < bytes.byteCount {
      hash = mix(hash, UInt64(bytes.littleEndian(UInt8.self, at: offset)))
      offset += 1
    }
    return hash
  }
}
