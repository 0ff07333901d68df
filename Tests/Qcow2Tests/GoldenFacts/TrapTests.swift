import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Qcow2
import Testing

/// Traps of the format that no other test shows by itself; for the others see docs/Testing.md.
@Suite struct TrapTests {
  private static let base = [UInt8](repeating: 0x77, count: 1 << 20)

  private static func image(
    _ version: FormatVersion = .v3, backing: [UInt8]? = nil,
    _ work: @escaping @Sendable (BlockBackend) async throws -> Void
  ) async throws -> ImageFixture {
    try await GoldenFactTests.image(1 << 20, backing: backing, { $0.version = version }, work)
  }

  private static func word(_ image: ImageFixture, _ offset: Int) -> UInt64 {
    image.disk.visibleImage.bytes(ByteRange(offset: offset, count: 8)).span.bytes
      .bigEndian(UInt64.self, at: 0)
  }

  /// Trap 9: what a host cluster held before it was zeroed must not come back.
  @Test func aWriteIntoAnAllocatedZeroClusterZeroesTheRestOfIt() async throws {
    let image = try await Self.image { disk in
      try await disk.fill(0xaa, at: 0, count: 65536)
      try await disk.writeZeroes(ByteRange(0, 65536))
      try await disk.fill(0xbb, at: 1024, count: 512)
      let bytes = try await disk.read(at: 0, count: 65536)
      #expect(bytes[..<1024].allSatisfy { $0 == 0 } && bytes[1536...].allSatisfy { $0 == 0 })
      #expect(bytes[1024..<1536].allSatisfy { $0 == 0xbb })
    }
    #expect(Self.word(image, 0x40000) == 0x8000_0000_0005_0000, "the same host cluster")
    #expect(
      image.disk.visibleImage.bytes(ByteRange(offset: 0x50000, count: 1024)).allSatisfy { $0 == 0 })
  }

  /// Trap 10: entry 0 in an overlay would show the backing file again.
  @Test func aDiscardInAnOverlayLeavesZeroClusters() async throws {
    let image = try await Self.image(backing: Self.base) { disk in
      try await disk.fill(1, at: 0, count: 65536)
      try await disk.discard(ByteRange(0, 131072))
      let bytes = try await disk.read(at: 0, count: 131072)
      #expect(bytes.allSatisfy { $0 == 0 })
    }
    #expect(Self.word(image, 0x40000) == 1)
    #expect(Self.word(image, 0x40008) == 1)
  }

  /// Trap 11: version 2 has no zero clusters, so that a discard over a backing file does nothing
  /// and zeros are written.
  @Test func aVersion2OverlayKeepsWhatIsDiscardedAndWritesZeros() async throws {
    let image = try await Self.image(.v2, backing: Self.base) { disk in
      try await disk.fill(1, at: 0, count: 65536)
      try await disk.discard(ByteRange(0, 65536))
      #expect(try await disk.read(at: 0, count: 65536).allSatisfy { $0 == 1 })
      try await disk.writeZeroes(ByteRange(65536, 131072), mayUnmap: true)
      #expect(try await disk.read(at: 65536, count: 65536).allSatisfy { $0 == 0 })
    }
    #expect(Self.word(image, 0x40000) == 0x8000_0000_0005_0000)
    #expect(Self.word(image, 0x40008) >> 63 == 1 && Self.word(image, 0x40008) & 1 == 0)
  }

  /// Trap 12: the last sector of the backing disk is followed by zeros.
  @Test func aShorterBackingDiskOfAnyLengthIsFollowedByZeros() async throws {
    let base = [UInt8](repeating: 0x77, count: 65536 + 3 * 512)
    _ = try await Self.image(backing: base) { disk in
      try await disk.fill(1, at: 65536 + 512, count: 512)  // copies the rest of the cluster
      let bytes = try await disk.read(at: 0, count: 196608)
      #expect(bytes[..<66048].allSatisfy { $0 == 0x77 })
      #expect(bytes[66560..<67072].allSatisfy { $0 == 0x77 })
      #expect(bytes[67072...].allSatisfy { $0 == 0 })
    }
  }
}
