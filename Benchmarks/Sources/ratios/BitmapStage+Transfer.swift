internal import BitmapWorkloads
internal import DirtyBitmap
internal import Primitives

/// Whole bitmaps from one place to another.
extension BitmapStage {
  /// Into a bitmap with each bit by a coin, another than that of `half`.
  var merge: Contest {
    get throws {
      let (bitmap, scratch, flat, bitSet) = (bitmap, scratch, flat, bitSet)
      let otherBits = Pattern.half.bits(flat.bitCount, seed: 2)
      let other = try suite.makeBitmap(otherBits)
      let flatScratch = FlatBits(bitCount: flat.bitCount)
      let otherSet = BitSetPeer(otherBits)
      let setScratch = BitSetPeer(FlatBits(bitCount: 1))
      var contenders = [
        Contender(
          Contender.ours,
          prepare: {
            scratch.resetAll()
            try scratch.merge(other)
          }, { try? scratch.merge(bitmap) }),
        Contender("flat", prepare: { flatScratch.copy(otherBits) }) { flatScratch.formUnion(flat) },
        Contender("BitSet", prepare: { setScratch.copy(otherSet) }) {
          setScratch.formUnion(bitSet)
        },
      ]
      #if HAS_ROARING
      if let roaring, let other = RoaringPeer(otherBits),
        let target = RoaringPeer(FlatBits(bitCount: 1))
      {
        contenders.append(
          Contender("roaring", prepare: { target.copy(other) }) { target.formUnion(roaring) })
      }
      #endif
      return contest("merge into half", unit: "word", mixedWordCount, bar: mergeBar, contenders)
    }
  }

  private var mergeBar: Bar? { pattern == nil ? nil : .timesYardstick(5) }

  /// The words that hold set and clear bits: what a merge has to touch.
  private var mixedWordCount: Int {
    (0..<flat.wordCount).count { flat.words[$0] != 0 && flat.words[$0] != .max }
  }

  var serialise: Contest {
    let bitmap = bitmap
    let buffer = FlatBits(bitCount: flat.bitCount)
    var contenders = [
      Contender(Contender.ours) {
        var target = MutableRawSpan(_unsafeBytes: buffer.bytes)
        bitmap.serialize(atByte: 0, into: &target)
      }
    ]
    #if HAS_ROARING
    if let roaring {
      let bytes = FlatBits(bitCount: roaring.serializedByteCount * 8)
      contenders.append(Contender("roaring") { roaring.serialize(into: bytes.bytes) })
    }
    #endif
    return contest("serialise", bar: pattern == nil ? nil : .timesYardstick(1.6), contenders)
  }

  var deserialise: Contest {
    let (scratch, flat) = (scratch, flat)
    var contenders = [
      Contender(Contender.ours, prepare: { scratch.resetAll() }) {
        let source = RawSpan(_unsafeBytes: UnsafeRawBufferPointer(flat.bytes))
        scratch.deserialize(from: source, atByte: 0)
      },
      Contender("BitSet") { consume(BitSetPeer(flat).first) },
    ]
    #if HAS_ROARING
    if let roaring, let target = RoaringPeer(FlatBits(bitCount: 1)) {
      let bytes = FlatBits(bitCount: roaring.serializedByteCount * 8)
      roaring.serialize(into: bytes.bytes)
      contenders.append(Contender("roaring") { target.deserialize(from: bytes.bytes) })
    }
    #endif
    return contest("deserialise", bar: pattern == nil ? nil : .timesYardstick(5), contenders)
  }
}
