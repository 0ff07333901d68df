internal import BitmapWorkloads
internal import DirtyBitmap
internal import Primitives

/// The dirty bitmap's operations beside memcpy of its leaf, a flat scan and other bitmaps.
struct BitmapScan {
  /// A spread of bits, and its name in the table.
  struct Subject {
    let name: String
    let bits: FlatBits
  }

  static let suite = "bitmap-scan"
  static let yardstick = "memcpy"

  let size: Int
  let granularity: Int

  var granuleCount: Int { size.dividedRoundingUp(by: granularity) }

  /// The contests that depend on how the bits are spread.
  func contests(_ subject: Subject) throws -> [Contest] {
    let stage = try BitmapStage(self, subject)
    return [
      stage.scan, stage.scanAndClear, stage.count, try stage.merge, stage.serialise,
      stage.deserialise,
    ]
  }

  /// An empty bitmap of this geometry.
  func makeBitmap() throws -> HierarchicalBitmap {
    try HierarchicalBitmap(size: size, granularity: granularity)
  }

  /// A bitmap with the bits of `bits`.
  func makeBitmap(_ bits: FlatBits) throws -> HierarchicalBitmap {
    let bitmap = try makeBitmap()
    bitmap.deserialize(from: RawSpan(_unsafeBytes: UnsafeRawBufferPointer(bits.bytes)), atByte: 0)
    return bitmap
  }
}

/// memcpy of as many bytes as a bitmap's leaf has: what reading all of it once must cost.
final class LeafCopy {
  private let source: FlatBits
  private let target: FlatBits

  init(bitCount: Int) {
    source = FlatBits(bitCount: bitCount)
    target = FlatBits(bitCount: bitCount)
    source.assign(true, 0, bitCount)
  }

  var contender: Contender {
    Contender(BitmapScan.yardstick) {
      self.target.bytes.copyMemory(from: UnsafeRawBufferPointer(self.source.bytes))
      consume(Int(truncatingIfNeeded: self.target.words[0]))
    }
  }
}
