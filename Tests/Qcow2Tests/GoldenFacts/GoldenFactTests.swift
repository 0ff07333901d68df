import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Qcow2
import Testing

/// Golden facts: what is done to an image by the qemu tools and by us leaves the same bytes.
///
/// Facts about headers alone have their tests in `Format/`: see the table in docs/Testing.md.
@Suite struct GoldenFactTests {
  /// Makes an image of `size` bytes and lets a guest work on it; the answer is the image, closed.
  static func image(
    _ size: Int, backing: [UInt8]? = nil,
    _ work: @escaping @Sendable (BlockBackend) async throws -> Void
  ) async throws -> ImageFixture {
    try await image(size, backing: backing, { _ in }, work)
  }

  /// The same, with other options.
  static func image(
    _ size: Int, backing: [UInt8]? = nil, _ change: (inout NewImageOptions) -> Void,
    _ work: @escaping @Sendable (BlockBackend) async throws -> Void
  ) async throws -> ImageFixture {
    let world = World.simulated(seed: 1)
    var options = NewImageOptions(virtualSize: size)
    change(&options)
    let made = options
    return try await world.run { () async throws in
      let image = try await ImageFixture.create(made, in: world)
      let base = try backing.map { bytes in
        try image.graph.addNode(
          SimulatedDisk(SparseImage(bytes), in: world, schedulingPoints: false), name: "base",
          options: NodeOptions(isReadOnly: true))
      }
      let data =
        made.dataFileName == nil
        ? nil : try image.graph.addNode(MemoryDriver(length: size), name: "data")
      let disk = try await image.open(backing: base, dataFile: data)
      try await work(disk)
      try await image.close(disk)
      return image
    }
  }

  private static func bytes(_ image: ImageFixture, _ offset: Int, _ count: Int) -> [UInt8] {
    image.disk.visibleImage.bytes(ByteRange(offset: offset, count: count))
  }

  private static func expect(
    _ image: ImageFixture, _ offset: Int, _ dump: String, _ comment: Comment? = nil
  ) {
    let expected = hex(dump)
    #expect(bytes(image, offset, expected.count) == expected, comment)
  }

  @Test func g1To5ANewImage() async throws {
    let image = try await Self.image(64 << 20) { _ in }
    #expect(image.disk.length == 196616)
    Self.expect(image, 0, "514649fb 00000003 00*8 00000000 00000010 00000000 04000000")
    Self.expect(
      image, 0x20,
      "00000000 00000001 00000000 00030000 00000000 00010000 00000001 00000000 00*8")
    Self.expect(image, 0x48, "00*24 00000004 00000070 00*8 6803f857 00000180")
    Self.expect(image, 0x10000, "00000000 00020000 00*8")
    Self.expect(image, 0x20000, "0001 0001 0001 0001 0000")
  }

  @Test func g6TheFirstClusterThatIsWritten() async throws {
    let image = try await Self.image(64 << 20) { try await $0.fill(1, at: 0, count: 65536) }
    Self.expect(image, 0x30000, "80000000 00040000")
    Self.expect(image, 0x40000, "80000000 00050000 00*8")
    Self.expect(image, 0x20000, "0001 0001 0001 0001 0001 0001 0000")
    #expect(image.disk.length == 393216)
  }

  @Test func g10RefcountsOfEveryWidth() async throws {
    let blocks = [
      (1, "3f"), (2, "55 05"), (4, "11 11 11"), (8, "01*6"), (16, "0001 0001 0001 0001 0001 0001"),
      (32, "00000001 00000001 00000001 00000001 00000001 00000001"),
      (64, "00*7 01 00*7 01 00*7 01 00*7 01 00*7 01 00*7 01"),
    ]
    for (bits, block) in blocks {
      let image = try await Self.image(1 << 20, { $0.refcountBits = bits }) {
        try await $0.fill(1, at: 0, count: 65536)
      }
      Self.expect(image, 0x20000, block + " 00*8", "\(bits) bits")
      Self.expect(image, 0x60, "000000" + "0\(bits.trailingZeroBitCount)")
    }
  }

  @Test func g11ZeroesOverDataAndOverNothing() async throws {
    let image = try await Self.image(1 << 20) { disk in
      try await disk.fill(1, at: 0, count: 65536)
      try await disk.writeZeroes(ByteRange(0, 65536))
      try await disk.writeZeroes(ByteRange(65536, 131072))
      try await disk.fill(1, at: 131072, count: 65536)
      try await disk.writeZeroes(ByteRange(131072, 196608), mayUnmap: true)
    }
    Self.expect(image, 0x40000, "80000000 00050001 00000000 00000001 00000000 00000001 00*8")
  }

  @Test func g12SubclustersInOneEntry() async throws {
    let base = [UInt8](repeating: 0x77, count: 2 << 20)
    let image = try await Self.image(2 << 20, backing: base, { $0.hasExtendedL2 = true }) { disk in
      try await disk.fill(1, at: 0, count: 2048)
      try await disk.fill(2, at: 5120, count: 1024)
      try await disk.writeZeroes(ByteRange(offset: 8192, count: 4096))
      try await disk.writeZeroes(ByteRange(offset: 65536, count: 65536))
      try await disk.writeZeroes(ByteRange(offset: 196608, count: 2048))
    }
    Self.expect(image, 0x48, "00000000 00000010")
    Self.expect(image, 0x40000, "80000000 00050000 00000030 00000005")
    Self.expect(image, 0x40010, "00000000 00000000 ffffffff 00000000")
    Self.expect(image, 0x40020, "00*16")
    Self.expect(image, 0x40030, "00000000 00000000 00000001 00000000")
  }

  @Test func g13ADataFileAndItsClusterAtOffset0() async throws {
    let image = try await Self.image(1 << 20, { $0.dataFileName = "d.data" }) {
      try await $0.fill(1, at: 0, count: 131072)
    }
    Self.expect(image, 0x48, "00000000 00000004")
    Self.expect(image, 0x70, "44415441 00000006 642e6461 74610000")
    Self.expect(image, 0x40000, "80000000 00000000 80000000 00010000 00*8")
  }

  @Test func g14ARawDataFileIsMappedAsAWhole() async throws {
    let image = try await Self.image(
      1 << 20,
      {
        $0.dataFileName = "d2.data"
        $0.isDataFileRaw = true
      }, { _ in })
    Self.expect(image, 0x58, "00000000 00000002")
    Self.expect(image, 0x40000, "80000000 00000000 80000000 00010000 80000000 00020000")
    Self.expect(image, 0x40078, "80000000 000f0000 00*8")
  }

  @Test func g15BitmapsAndTheirBits() async throws {
    let image = try await Self.image(1 << 20) { disk in
      try disk.node.addBitmap("b0", granularity: 65536, persistent: true)
      try disk.node.addBitmap("b1", granularity: 65536, persistent: true, disabled: true)
      try await disk.fill(1, at: 0, count: 65536)
      try await disk.fill(1, at: 196608, count: 65536)
    }
    Self.expect(image, 0x58, "00000000 00000001")
    let header = try HeaderCluster.parse(
      Self.bytes(image, 0, 65536).span.bytes, for: .readOnly)
    let found = try #require(header.extensions.bitmaps)
    #expect(found.bitmapCount == 2 && found.directoryByteCount == 0x40)
    let directory = found.directoryOffset.value
    // The order of the two means nothing.
    let entries = [directory, directory + 32]
    let enabled = hex("00000001 00000002 01100002 00000000 'b0' 0000 00000000")
    let disabled = hex("00000001 00000000 01100002 00000000 'b1' 0000 00000000")
    let place = try #require(entries.first { Self.bytes(image, $0 + 8, 24) == enabled })
    #expect(entries.contains { Self.bytes(image, $0 + 8, 24) == disabled })
    let table = Self.bytes(image, place, 8).span.bytes.bigEndian(Int.self, at: 0)
    let bits = Self.bytes(image, table, 8).span.bytes.bigEndian(Int.self, at: 0)
    Self.expect(image, bits, "09 00*7")
  }

  @Test func g16ASnapshotSharesTablesAndData() async throws {
    let world = World.simulated(seed: 1)
    let image = try await world.run { () async throws in
      let image = try await ImageFixture.create(NewImageOptions(virtualSize: 1 << 20), in: world)
      let disk = try await image.open()
      try await disk.fill(1, at: 0, count: 65536)
      try await image.graph.createSnapshot(named: "first", of: disk.node)
      try await image.close(disk)
      return image
    }
    Self.expect(image, 0x3c, "00000001")
    let table = Self.bytes(image, 0x40, 8).span.bytes.bigEndian(Int.self, at: 0)
    let l1 = Self.bytes(image, table, 8).span.bytes.bigEndian(Int.self, at: 0)
    Self.expect(image, table + 8, "00000001 0001 0005")
    Self.expect(image, table + 32, "00000000 00000018 00*8 00000000 00100000")
    Self.expect(image, table + 64, "'1first'")
    Self.expect(image, 0x30000, "00000000 00040000", "the active L1 table")
    Self.expect(image, 0x40000, "00000000 00050000", "the L2 table that both use")
    #expect(Self.bytes(image, l1 + 1, 7) == hex("000000 00040000"), "the snapshot's L1 table")
    Self.expect(image, 0x20000, "0001 0001 0001 0001 0002 0002 0001 0001 0000")
  }

  @Test func g18And19CompressedClusters() async throws {
    let noise = (0..<65536).map { UInt8(truncatingIfNeeded: $0 < 9000 ? $0 &* $0 >> 3 : 7) }
    for type in CompressedModelTests.types.map({ $0 == "zstd" ? CompressionType.zstd : .deflate }) {
      let image = try await Self.image(1 << 20, { $0.compressionType = type }) { disk in
        try await disk.writeCompressed(ByteRange(0, 65536), from: noise.span.bytes)
      }
      let entry = L2Entry(
        rawValue: Self.bytes(image, 0x40000, 8).span.bytes.bigEndian(UInt64.self, at: 0))
      guard case .compressed(let descriptor) = entry.kind(clusterBits: 16) else {
        Issue.record("\(entry) is no compressed cluster")
        continue
      }
      #expect(descriptor.hostOffset.value == 0x50000)
      #expect(entry.rawValue >> 62 == 1, "compressed, and never with a copied flag")
      guard type == .zstd else { continue }
      Self.expect(image, 0x48, "00000000 00000008")
      Self.expect(image, 0x68, "01000000 00000000")
      Self.expect(image, 0x50000, "28b52ffd")
    }
  }

  @Test func g20PreallocatedMetadata() async throws {
    let image = try await Self.image(16 << 20, { $0.preallocation = .metadata }, { _ in })
    #expect(image.disk.length == 17_104_896)
    Self.expect(image, 0x40000, "80000000 00050000 80000000 00060000")
    let sparse = try await Self.image(16 << 20) { _ in }
    #expect(sparse.disk.length == 196616)
  }

  @Test func g24BackToVersion2() async throws {
    let image = try await Self.image(64 << 20) { disk in
      var options = AmendOptions()
      options.version = .v2
      try await disk.node.amend(options)
    }
    #expect(Self.bytes(image, 0, 65536) == GoldenHeaders.version2)
  }
}
