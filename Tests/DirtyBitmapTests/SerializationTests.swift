import DirtyBitmap
import Primitives
import Testing

/// The serialised form, against what QEMU wrote and in pieces.
@Suite struct SerializationTests {
  @Test(arguments: GoldenBitmap.all)
  func theSerialisedFormIsWhatQEMUWroteForTheSameWrites(_ golden: GoldenBitmap) throws {
    let bitmap = try HierarchicalBitmap(size: golden.size, granularity: golden.granularity)
    for (offset, count) in golden.writes { bitmap.set(ByteRange(offset: offset, count: count)) }
    #expect(bitmap.serializedByteCount == golden.bytes.count)
    #expect(bitmap.serialized() == golden.bytes)
  }

  @Test(arguments: GoldenBitmap.all)
  func whatQEMUWroteIsReadClusterByCluster(_ golden: GoldenBitmap) throws {
    let expected = try HierarchicalBitmap(size: golden.size, granularity: golden.granularity)
    for (offset, count) in golden.writes { expected.set(ByteRange(offset: offset, count: count)) }
    let bitmap = try HierarchicalBitmap(size: golden.size, granularity: golden.granularity)
    bitmap.setAll()
    let bytes = golden.bytes
    for start in stride(from: 0, to: bytes.count, by: golden.clusterSize) {
      let cluster = bytes[start..<min(start + golden.clusterSize, bytes.count)]
      if cluster.allSatisfy({ $0 == 0 }) {
        #expect(expected.chunkContent(ByteRange(start, start + golden.clusterSize)) == .allZero)
        bitmap.deserializeZeroes(ByteRange(start, start + golden.clusterSize))
      } else {
        #expect(!bitmap.load(cluster, at: start))
      }
    }
    #expect(bitmap.isEqual(to: expected))
    #expect(bitmap.checkInvariants().isEmpty)
  }

  @Test func theHashedFormsOfTheSpecificationComeOut() throws {
    let bitmap = try HierarchicalBitmap(size: 1 << 20, granularity: 65536)
    #expect(bitmap.serialized() == [0, 0, 0, 0, 0, 0, 0, 0])
    bitmap.set(ByteRange(0, 1))
    bitmap.set(ByteRange(655_360, 655_361))
    #expect(bitmap.serialized() == [1, 4, 0, 0, 0, 0, 0, 0])
  }

  @Test func bitsBeyondTheEndAreDroppedAndReported() throws {
    let bitmap = try HierarchicalBitmap(size: 70 * 512, granularity: 512)
    var bytes = [UInt8](repeating: 0xff, count: 16)
    #expect(bitmap.load(bytes, at: 0))
    #expect(bitmap.count == 70 && bitmap.isFull)
    bytes[8...] = [0x3f, 0, 0, 0, 0, 0, 0, 0]
    #expect(!bitmap.load(bytes, at: 0))
    #expect(bitmap.isFull)
    let padding: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 1]
    #expect(bitmap.load(padding, at: 16))
    #expect(!bitmap.load([UInt8](repeating: 0, count: 8), at: 1 << 40))
    #expect(bitmap.isFull && bitmap.checkInvariants().isEmpty)
  }

  @Test func piecesBeyondTheEndAreZeroAndHoldNothing() throws {
    let bitmap = try HierarchicalBitmap(size: 512, granularity: 512)
    bitmap.setAll()
    #expect(bitmap.serialized(from: 0, count: 24) == [1] + [UInt8](repeating: 0, count: 23))
    #expect(bitmap.serialized(from: 800, count: 8) == [UInt8](repeating: 0, count: 8))
    #expect(bitmap.chunkContent(ByteRange(0, 512)) == .allOne)
    #expect(bitmap.chunkContent(ByteRange(8, 512)) == .allZero)
    #expect(bitmap.chunkContent(ByteRange(.max - 1, .max)) == .allZero)
    bitmap.deserializeOnes(ByteRange(.max - 1, .max))
    bitmap.deserializeZeroes(ByteRange(8, .max))
    #expect(bitmap.isFull)
  }

  @Test func anEmptyDiskHasAnEmptyForm() throws {
    let bitmap = try HierarchicalBitmap(size: 0, granularity: 65536)
    #expect(bitmap.serializedByteCount == 0 && bitmap.serialized() == [])
    #expect(bitmap.chunkContent(ByteRange(0, 8)) == .allZero)
    #expect(!bitmap.load([UInt8](repeating: 0, count: 8), at: 0))
    #expect(bitmap.isEmpty && bitmap.isFull)
  }

  @Test func aPieceThatIsNoWholeWordTraps() async {
    await #expect(processExitsWith: .failure) {
      let bitmap = try HierarchicalBitmap(size: 1 << 20, granularity: 512)
      _ = bitmap.serialized(from: 4, count: 8)
    }
  }
}

extension HierarchicalBitmap {
  /// A piece of the serialised form; all of it when no count is given.
  func serialized(from offset: Int = 0, count: Int? = nil) -> [UInt8] {
    var bytes = [UInt8](repeating: 0x5a, count: count ?? serializedByteCount)
    var span = bytes.mutableSpan
    var raw = span.mutableBytes
    serialize(atByte: offset, into: &raw)
    return bytes
  }

  /// Loads a piece of the serialised form.
  func load(_ bytes: some Collection<UInt8>, at offset: Int) -> Bool {
    deserialize(from: Array(bytes).span.bytes, atByte: offset)
  }
}
