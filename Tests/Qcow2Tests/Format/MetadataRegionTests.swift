import Primitives
import Qcow2
import Testing

/// Where the header's tables may lie: beyond what QEMU checks.
@Suite struct MetadataRegionTests {
  private func parse(_ bytes: [UInt8]) throws -> HeaderCluster {
    try HeaderCluster.parse(bytes.span.bytes, for: .readWrite)
  }

  private func defects(_ bytes: [UInt8], fileByteCount: Int) throws -> [String] {
    try parse(bytes).regionDefects(fileByteCount: fileByteCount).map(\.message)
  }

  @Test func theLastTableMayEndInMidClusterWithTheFile() throws {
    #expect(try defects(GoldenHeaders.plain, fileByteCount: 0x30001).isEmpty)
    #expect(
      try defects(GoldenHeaders.plain, fileByteCount: 0x30000) == [
        "Active L1 table (0x30000..<0x30008) ends beyond the file, which has 196608 bytes: "
          + "the image is truncated or damaged"
      ])
  }

  @Test func aTruncatedImageIsNoticedBeforeAnythingIsAllocated() throws {
    let huge = GoldenHeaders.plain.patched(36, "00400000")
    let cluster = try parse(huge)
    let error = cluster.regionDefects(fileByteCount: 0x30008).first
    #expect(error?.code == .truncated)
    #expect(try defects(GoldenHeaders.plain, fileByteCount: 511).count == 2)
  }

  @Test func noTableIsAtOffset0() throws {
    #expect(
      try defects(GoldenHeaders.plain.patched(40, "00*8"), fileByteCount: 0x40000)
        == ["Active L1 table offset invalid"])
    #expect(
      try defects(GoldenHeaders.plain.patched(48, "00*8"), fileByteCount: 0x40000)
        == ["Reference count table offset invalid"])
    #expect(
      try defects(
        GoldenHeaders.snapshot.patched(64, "00*8"), fileByteCount: 0x80000)
        == ["Snapshot table offset invalid"])
  }

  @Test func noTwoTablesShareACluster() throws {
    #expect(
      try defects(
        GoldenHeaders.plain.patched(40, "00000000 00010000"), fileByteCount: 0x40000)
        == ["Reference count table overlaps with active l1 table"])
    #expect(
      try defects(
        GoldenHeaders.bitmaps.patched(0x210, "00000000 00030000"), fileByteCount: 0xd0040)
        == ["Bitmap directory overlaps with active l1 table"])
    #expect(
      try defects(
        GoldenHeaders.plain.patched(56, "00000003"), fileByteCount: 0x40000)
        == ["Reference count table overlaps with active l1 table"])
  }

  @Test func everyTableTheHeaderNamesIsARegion() throws {
    let all = GoldenHeaders.luks.patched(60, "00000002 00000000 00400000")
    let cluster = try parse(all)
    #expect(
      cluster.regions.map(\.region) == [
        .header, .activeL1Table, .refcountTable, .snapshotTable, .encryptionHeader,
      ])
    #expect(cluster.regions.map(\.range)[3] == ByteRange(offset: 0x400000, count: 80))
    let bitmaps = try parse(GoldenHeaders.bitmaps)
    #expect(bitmaps.regions.last?.range == ByteRange(offset: 0xd0000, count: 0x40))
  }
}
