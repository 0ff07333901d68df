import Primitives
import Qcow2
import Testing

/// Headers that qemu-img wrote, read by us.
@Suite struct HeaderGoldenTests {
  private func parse(
    _ bytes: [UInt8], for purpose: OpenPurpose = .readWrite
  ) throws -> HeaderCluster {
    try HeaderCluster.parse(bytes.span.bytes, for: purpose)
  }

  @Test func aPlainImageSaysItsSizesAndTables() throws {
    let cluster = try parse(GoldenHeaders.plain)
    let header = cluster.header
    #expect(header.version == .v3)
    #expect(header.clusterSize == 65536)
    #expect(header.virtualSize == 64 << 20)
    #expect(header.l1EntryCount == 1)
    #expect(header.l1TableOffset == HostOffset(0x30000))
    #expect(header.refcountTableOffset == HostOffset(0x10000))
    #expect(header.refcountTableClusters == 1)
    #expect(header.refcountOrder == 4)
    #expect(header.snapshotCount == 0)
    #expect(header.byteCount == 112)
    #expect(header.encryptionMethod == .none)
    #expect(header.compressionType == .deflate)
    #expect(!header.isDirty && !header.isMarkedCorrupt)
    #expect(cluster.backingFileName == nil)
    #expect(cluster.extensions.featureNames == FeatureName.standard)
    #expect(cluster.regionDefects(fileByteCount: 196616).isEmpty)
    #expect(cluster.unsupportedFeatures(for: .readWrite).isEmpty)
  }

  @Test func aVersion2ImageHasWhatItsVersionImplies() throws {
    let header = try parse(GoldenHeaders.version2).header
    #expect(header.version == .v2)
    #expect(header.refcountOrder == 4)
    #expect(header.byteCount == 72)
    #expect(header.incompatibleFeatures == [])
  }

  @Test func bytesBehindAVersion2HeaderAreNoFeatureWords() throws {
    // Such bytes are extensions; this one is of an unknown type.
    let bytes = GoldenHeaders.version2.patched(72, "00000020 00000004 ffffffff 00000000")
    let cluster = try parse(bytes)
    #expect(cluster.header.incompatibleFeatures == [])
    #expect(
      cluster.extensions.unknown == [
        HeaderExtension(type: 0x20, body: [0xff, 0xff, 0xff, 0xff])
      ])
  }

  @Test func smallClustersComeWithoutFeatureNames() throws {
    let cluster = try parse(GoldenHeaders.smallClusters)
    #expect(cluster.header.clusterSize == 512)
    #expect(cluster.header.l1EntryCount == 32)
    #expect(cluster.header.l1TableOffset == HostOffset(0x600))
    #expect(cluster.extensions.featureNames.isEmpty)
    #expect(cluster.regionDefects(fileByteCount: 1792).isEmpty)
  }

  @Test(arguments: [GoldenHeaders.overlay, GoldenHeaders.overlayVersion2])
  func anOverlayNamesItsBackingFileAndFormat(bytes: [UInt8]) throws {
    let cluster = try parse(bytes)
    #expect(cluster.backingFileName == "base.raw")
    #expect(cluster.extensions.backingFormat == "raw")
  }

  @Test func anImageOfSize0HasNoL1Table() throws {
    let cluster = try parse(GoldenHeaders.empty)
    #expect(cluster.header.virtualSize == 0)
    #expect(cluster.header.l1EntryCount == 0)
    #expect(cluster.header.l1TableOffset == .zero)
    #expect(cluster.regionDefects(fileByteCount: 196608).isEmpty)
  }

  @Test func lazyRefcountsAreACompatibleFeature() throws {
    let header = try parse(GoldenHeaders.lazyRefcounts).header
    #expect(header.compatibleFeatures == .lazyRefcounts)
    #expect(header.incompatibleFeatures == [])
  }

  @Test func zstdIsAnnouncedByAFeatureBit() throws {
    let cluster = try parse(GoldenHeaders.zstd)
    #expect(cluster.header.compressionType == .zstd)
    #expect(cluster.header.incompatibleFeatures == .compressionType)
  }

  @Test func clustersOf2MiBAreTheLargest() throws {
    let cluster = try parse(GoldenHeaders.largeClusters)
    #expect(cluster.header.clusterSize == 2 << 20)
    #expect(cluster.regionDefects(fileByteCount: 6_291_464).isEmpty)
  }

  @Test func theBitmapsExtensionNamesTheDirectory() throws {
    let cluster = try parse(GoldenHeaders.bitmaps)
    let expected = BitmapExtension(
      bitmapCount: 2, directoryByteCount: 0x40, directoryOffset: HostOffset(0xd0000))
    #expect(cluster.header.autoclearFeatures == .bitmaps)
    #expect(cluster.extensions.bitmaps == expected)
    #expect(cluster.extensions.bitmapsDefect == nil)
  }

  @Test func featuresThatAreNotSupportedYetAreNamed() throws {
    let cases: [([UInt8], UnsupportedFeature, String)] = [
      (GoldenHeaders.luks, .luksEncryption, "LUKS encryption"),
      (GoldenHeaders.plain.patched(0x20, "00000001"), .aesEncryption, "AES encryption"),
    ]
    for (bytes, feature, text) in cases {
      #expect(try parse(bytes).unsupportedFeatures(for: .readWrite) == [feature])
      #expect(feature.error.message.contains(text))
    }
    let supported = [GoldenHeaders.extendedL2, GoldenHeaders.dataFile, GoldenHeaders.snapshot]
    for header in supported {
      #expect(try parse(header).unsupportedFeatures(for: .readWrite).isEmpty)
    }
  }

  @Test func theDataFilesNameAndTheLUKSHeadersPlaceAreRead() throws {
    #expect(try parse(GoldenHeaders.dataFile).extensions.dataFileName == "d.data")
    let range = try parse(GoldenHeaders.luks).extensions.encryptionHeader?.range
    #expect(range == ByteRange(offset: 0x40000, count: 0x1f9000))
  }

  @Test func theSnapshotTableIsFound() throws {
    let header = try parse(GoldenHeaders.snapshot).header
    #expect(header.snapshotCount == 1)
    #expect(header.snapshotTableOffset == HostOffset(0x70000))
  }
}
