import BlockLayer
import Primitives
import Testing

@testable import Qcow2

/// What zstd frames from elsewhere are taken for.
#if Zstd
@Suite struct ZstdFrameTests {
  let letters = ClusterCodecTests.letters

  private func decoded(_ stream: [UInt8], clusterSize: Int = 512) -> [UInt8]? {
    ClusterCodecTests.decoded(stream, .zstd, clusterSize: clusterSize)
  }

  @Test func framesThatAddUpToTheClusterAreRead() {
    let halves = CraftedStream.frame(Array(letters.prefix(200)))
    let other = CraftedStream.frame(repeating: 0x41, count: 312)
    #expect(decoded(halves + other) == letters)
    #expect(decoded(CraftedStream.frame(letters)) == letters)
  }

  @Test func framesThatEndBeforeTheClusterOrBehindItAreRefused() {
    #expect(decoded(CraftedStream.frame(Array(letters.dropLast()))) == nil)
    #expect(decoded(CraftedStream.frame(letters + [1])) == nil)
    let short = CraftedStream.frame(Array(letters.prefix(200)))
    #expect(decoded(short + CraftedStream.frame(letters)) == nil)
    #expect(decoded(short + [UInt8](repeating: 0, count: 512)) == nil)
  }

  @Test func aFrameThatIsNotCompleteWhenTheClusterIsFullIsRefused() {
    #expect(decoded(CraftedStream.frame(letters, isWhole: false)) == nil)
  }

  @Test func whatFollowsAFullClusterIsIgnored() {
    let frame = CraftedStream.frame(letters)
    #expect(decoded(frame + frame) == letters)
    #expect(decoded(frame + [1, 2, 3]) == letters)
  }

  @Test func skippableFramesChecksumsAndWindowsOfAnySizeAreRead() {
    #expect(decoded(CraftedStream.skippable([1, 2, 3]) + CraftedStream.frame(letters)) == letters)
    #expect(decoded(CraftedStream.checksummed) == letters)
    for windowLog in [10, 27, 31] {
      #expect(decoded(CraftedStream.frame(letters, windowLog: windowLog)) == letters)
    }
  }

  @Test func aWrongChecksumIsRefused() {
    var stream = CraftedStream.checksummed
    stream[stream.count - 1] ^= 1
    #expect(decoded(stream) == nil)
  }

  @Test func aBombIsRefusedBeforeItIsLongerThanTheCluster() {
    #expect(decoded(CraftedStream.frame(repeating: 0, count: 128 << 10)) == nil)
  }

  @Test func framesOfBeforeTheStandardAreRefused() {
    for version in 0x1e...0x27 as ClosedRange<UInt8> {
      var stream = CraftedStream.frame(letters)
      stream[0] = version
      #expect(decoded(stream) == nil)
    }
  }
}
#else
@Suite struct ZstdFrameTests {
  @Test func zstdIsRefusedByTheNameOfItsTrait() {
    let codec = ClusterCodec(.zstd, clusterSize: 512)
    var buffer = IOBuffer(byteCount: 512)
    var cluster = buffer.mutableBytes
    do throws(BlockError) {
      try codec.decompress(
        CraftedStream.frame(ClusterCodecTests.letters).span.bytes, at: .zero, into: &cluster)
      Issue.record("accepted")
    } catch {
      #expect(error.code == .unsupported)
      #expect(error.message.contains("--traits Zstd"))
    }
  }
}
#endif
