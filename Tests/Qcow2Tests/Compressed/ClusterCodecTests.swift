import BlockLayer
import Execution
import Primitives
import Testing

@testable import Qcow2

/// Clusters to streams and back, and what streams from elsewhere are taken for.
@Suite struct ClusterCodecTests {
  #if Zstd
  static let types: [CompressionType] = [.deflate, .zstd]
  #else
  static let types: [CompressionType] = [.deflate]
  #endif
  static let sizes = [512, 4096, 65536, 2 << 20]

  /// What a codec makes of a stream; nil where it refuses it.
  static func decoded(
    _ stream: [UInt8], _ type: CompressionType = .deflate, clusterSize: Int = 512
  ) -> [UInt8]? {
    let codec = ClusterCodec(type, clusterSize: clusterSize)
    // Between guards that must stay as they are.
    var buffer = IOBuffer(byteCount: clusterSize + 128)
    var bytes = buffer.mutableBytes
    bytes.fill(with: 0xee)
    var cluster = bytes.slice(ByteRange(offset: 64, count: clusterSize))
    let isDecoded =
      (try? codec.decompress(
        stream.span.bytes, at: HostOffset(0x5000), into: &cluster)) != nil
    let all = buffer.bytes.toArray()
    #expect(all.prefix(64).allSatisfy { $0 == 0xee } && all.suffix(64).allSatisfy { $0 == 0xee })
    return isDecoded ? Array(all[64..<64 + clusterSize]) : nil
  }

  static func encoded(_ cluster: [UInt8], _ type: CompressionType) throws -> [UInt8]? {
    let codec = ClusterCodec(type, clusterSize: cluster.count)
    var buffer = IOBuffer(byteCount: cluster.count - 1)
    var stream = buffer.mutableBytes
    guard let count = try codec.compress(cluster.span.bytes, into: &stream) else { return nil }
    return Array(stream.bytes.toArray().prefix(count))
  }

  /// Text of few letters, with some noise in it: compresses to about a half.
  static func sample(_ count: Int, seed: UInt64) -> [UInt8] {
    var random = SeededGenerator(seed: seed)
    return (0..<count).map { index in
      index % 7 == 0 ? random.next(upperBound: UInt8.max) : UInt8(index % 11) + 65
    }
  }

  @Test(arguments: types, sizes)
  func aClusterComesBackFromItsStream(type: CompressionType, size: Int) throws {
    for seed in 0..<3 {
      let cluster = Self.sample(size, seed: UInt64(seed))
      let stream = try #require(try Self.encoded(cluster, type))
      #expect(stream.count < size)
      #expect(Self.decoded(stream, type, clusterSize: size) == cluster)
    }
  }

  @Test(arguments: types, sizes)
  func noiseDoesNotBecomeSmaller(type: CompressionType, size: Int) throws {
    var random = SeededGenerator(seed: 1)
    let noise = (0..<size).map { _ in random.next(upperBound: UInt8.max) }
    #expect(try Self.encoded(noise, type) == nil)
  }

  @Test func matchesOfOurDeflateReachBackFourKilobytesAtMost() throws {
    // The same noise again 5,000 bytes later would be one match for a longer window.
    var random = SeededGenerator(seed: 2)
    let noise = (0..<5000).map { _ in random.next(upperBound: UInt8.max) }
    let cluster = noise + noise + [UInt8](repeating: 0, count: 65536 - 10000)
    let stream = try #require(try Self.encoded(cluster, .deflate))
    #expect(stream.count > 9900)
    #expect(Self.decoded(stream, clusterSize: 65536) == cluster)
  }

  // MARK: - The acceptance matrix

  static let letters = [UInt8](repeating: 0x41, count: 512)

  @Test func aStreamThatEndsEarlyIsRefused() {
    #expect(Self.decoded(CraftedStream.stored(Array(Self.letters.dropLast()))) == nil)
    #expect(Self.decoded(CraftedStream.stored(Self.letters)) == Self.letters)
  }

  @Test func aDeflateStreamThatGoesOnBehindTheClusterIsCutOff() {
    #expect(Self.decoded(CraftedStream.stored(Self.letters + [1, 2, 3])) == Self.letters)
  }

  @Test func whatFollowsAStreamIsIgnored() {
    let garbage = [UInt8](repeating: 0xa7, count: 700)
    #expect(Self.decoded(CraftedStream.stored(Self.letters) + garbage) == Self.letters)
  }

  @Test func theHeaderOfZlibIsRefused() {
    #expect(Self.decoded(CraftedStream.zlibWrapped) == nil)
    let raw = Array(CraftedStream.zlibWrapped.dropFirst(2))
    #expect(Self.decoded(raw) == Self.letters)
  }

  @Test func aWindowOfFifteenBitsIsRead() throws {
    let cluster = try #require(Self.decoded(CraftedStream.longMatch, clusterSize: 32768))
    #expect(cluster[0..<16] == cluster[20016..<20032])
    #expect(cluster[16..<20016].allSatisfy { $0 == 0 })
  }

  @Test func aStreamThatIsCutOffIsRefused() throws {
    for type in Self.types {
      let stream = try #require(try Self.encoded(Self.sample(4096, seed: 3), type))
      for count in [0, 1, stream.count / 2, stream.count - 20] {
        #expect(Self.decoded(Array(stream.prefix(count)), type, clusterSize: 4096) == nil)
      }
    }
  }

  @Test func theErrorNamesTheStreamsPlace() throws {
    let codec = ClusterCodec(.deflate, clusterSize: 512)
    var buffer = IOBuffer(byteCount: 512)
    var cluster = buffer.mutableBytes
    do throws(BlockError) {
      try codec.decompress([0xff, 0xff].span.bytes, at: HostOffset(0x5432), into: &cluster)
      Issue.record("accepted")
    } catch {
      #expect(error.code == .io)
      #expect(error.message.contains("0x5432"))
    }
  }

  // MARK: - Hostile bytes

  @Test(arguments: types, [512, 65536])
  func damagedStreamsNeverWriteOutsideOfTheCluster(type: CompressionType, size: Int) throws {
    var random = SeededGenerator(seed: 4)
    let stream = try #require(try Self.encoded(Self.sample(size, seed: 5), type))
    for _ in 0..<200 {
      var damaged = stream
      for _ in 0...random.next(upperBound: UInt(3)) {
        damaged[Int(random.next(upperBound: UInt(stream.count)))] = random.next(
          upperBound: UInt8.max)
      }
      _ = Self.decoded(damaged, type, clusterSize: size)
      let noise = (0..<300).map { _ in random.next(upperBound: UInt8.max) }
      _ = Self.decoded(noise, type, clusterSize: size)
    }
  }

  @Test func aBombGivesOneClusterAtMost() throws {
    let whole = try #require(
      try Self.encoded([UInt8](repeating: 0, count: 2 << 20), .deflate))
    #expect(Self.decoded(whole) == [UInt8](repeating: 0, count: 512))
  }
}
