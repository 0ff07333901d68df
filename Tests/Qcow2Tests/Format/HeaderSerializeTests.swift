import Primitives
import Qcow2
import Testing

/// Headers that we write.
@Suite struct HeaderSerializeTests {
  private func parse(_ bytes: [UInt8]) throws -> HeaderCluster {
    try HeaderCluster.parse(bytes.span.bytes, for: .readWrite)
  }

  @Test func whatQEMUWroteIsWrittenAgainByteForByte() throws {
    let headers = [
      GoldenHeaders.plain, GoldenHeaders.version2, GoldenHeaders.smallClusters,
      GoldenHeaders.overlay, GoldenHeaders.overlayVersion2, GoldenHeaders.empty,
      GoldenHeaders.lazyRefcounts, GoldenHeaders.zstd, GoldenHeaders.extendedL2,
      GoldenHeaders.largeClusters, GoldenHeaders.snapshot, GoldenHeaders.dataFile,
      GoldenHeaders.luks,
    ]
    for (index, bytes) in headers.enumerated() {
      let written = try parse(bytes).serialize()
      #expect(written.count == bytes.count)
      let difference = written.span.bytes.firstDifference(from: bytes.span.bytes)
      #expect(difference == nil, "header \(index)")
    }
  }

  @Test func bitmapsComeBeforeTheFeatureNames() throws {
    // The one difference from QEMU's order: the bitmaps' place is in the first sector.
    let cluster = try parse(GoldenHeaders.bitmaps)
    let written = try cluster.serialize()
    #expect(
      Array(written[0x70..<0x98])
        == hex(
          """
          23852875 00000018 00000002 00000000 00000000 00000040 00000000 000d0000 \
          6803f857 00000180
          """
        )
    )
    #expect(try parse(written) == cluster)
  }

  @Test func everythingThatIsNotUnderstoodIsKept() throws {
    // A header of 128 bytes: 16 bytes of later versions' fields; then two unknown extensions.
    let bytes = GoldenHeaders.smallClusters.patched(100, "00000080").patched(
      112, "'0123456789abcdef'"
    )
    .patched(128, "cafe0001 00000003 010203 00*5 cafe0002 00000000 cafe0001 00000001 ff 00*7")
    let cluster = try parse(bytes)
    #expect(cluster.header.unknownTail == hex("'0123456789abcdef'"))
    #expect(cluster.extensions.unknown.map(\.body) == [[1, 2, 3], [], [0xff]])
    #expect(try cluster.serialize() == bytes)
  }

  @Test func aHeaderOf104BytesOpensAndIsWrittenWith112() throws {
    // As QEMU before 5.1 wrote: no compression type.
    let bytes = GoldenHeaders.smallClusters.patched(100, "00000068")
      .patched(104, "e2792aca 00000003 72617700 00000000")
    let cluster = try parse(bytes)
    #expect(cluster.extensions.backingFormat == "raw")
    #expect(cluster.header.compressionType == .deflate)
    let written = try cluster.serialize()
    #expect(Array(written[100..<104]) == hex("00000070"))
    #expect(Array(written[112..<128]) == hex("e2792aca 00000003 72617700 00000000"))
    #expect(try parse(written) == cluster)
  }

  @Test func anOddHeaderLengthIsPaddedWhenWritten() throws {
    let bytes = GoldenHeaders.smallClusters.patched(100, "00000073").patched(112, "010203")
      .patched(115, "cafe0001 00000001 ff 00*7")
    let cluster = try parse(bytes)
    #expect(cluster.header.byteCount == 120)
    let again = try parse(cluster.serialize())
    #expect(again.header.unknownTail == [1, 2, 3, 0, 0, 0, 0, 0])
    #expect(again.extensions == cluster.extensions)
  }

  @Test func featureNamesYieldWhenSpaceIsShort() throws {
    var cluster = try parse(GoldenHeaders.smallClusters)
    cluster.extensions.featureNames = FeatureName.standard
    cluster.backingFileName = EmbeddedName(String(repeating: "n", count: 100))
    let again = try parse(cluster.serialize())
    #expect(again.extensions.featureNames == Array(FeatureName.standard.prefix(5)))
    #expect(again.backingFileName == cluster.backingFileName)
  }

  @Test func whatDoesNotFitIntoTheClusterIsRefused() throws {
    var cluster = try parse(GoldenHeaders.smallClusters)
    // 512 − 112 − 8 for the end marker = 392.
    cluster.backingFileName = EmbeddedName(String(repeating: "n", count: 392))
    #expect(try parse(cluster.serialize()) == cluster)
    cluster.backingFileName = EmbeddedName(String(repeating: "n", count: 393))
    let error = #expect(throws: Qcow2FormatError.self) { try cluster.serialize() }
    #expect(error?.code == .noSpace)
  }

  @Test func namesThatNobodyCouldReadAgainAreRefused() throws {
    var cluster = try parse(GoldenHeaders.plain)
    cluster.backingFileName = EmbeddedName(String(repeating: "n", count: 1023))
    #expect(try parse(cluster.serialize()).backingFileName == cluster.backingFileName)
    cluster.backingFileName = EmbeddedName(String(repeating: "n", count: 1024))
    #expect(throws: Qcow2FormatError(.invalidOption, "Backing file name too long")) {
      try cluster.serialize()
    }
    cluster.backingFileName = EmbeddedName(bytes: [0x61, 0])
    #expect(throws: Qcow2FormatError.self) { try cluster.serialize() }
    cluster.backingFileName = ""
    #expect(throws: Qcow2FormatError.self) { try cluster.serialize() }
    cluster.backingFileName = "a"
    cluster.extensions.backingFormat = "0123456789abcdef"
    #expect(throws: Qcow2FormatError.self) { try cluster.serialize() }
    cluster.extensions.backingFormat = "raw\n"
    #expect(throws: Qcow2FormatError.self) { try cluster.serialize() }
  }

  @Test func aPatchHoldsTheFieldsOfItsGroup() throws {
    var header = try parse(GoldenHeaders.plain).header
    header.virtualSize = 0x1234_0000
    header.l1EntryCount = 7
    header.l1TableOffset = HostOffset(0x50000)
    header.refcountTableOffset = HostOffset(0x90000)
    header.refcountTableClusters = 2
    header.snapshotCount = 3
    header.snapshotTableOffset = HostOffset(0xa0000)
    header.incompatibleFeatures = [.dirty, .corrupt]
    header.compatibleFeatures = .lazyRefcounts
    header.autoclearFeatures = .bitmaps
    header.refcountOrder = 6
    let expected: [HeaderFieldGroup: String] = [
      .virtualSize: "00000000 12340000",
      .sizeAndL1Table: "00000000 12340000 00000000 00000007 00000000 00050000",
      .l1Table: "00000007 00000000 00050000",
      .refcountTable: "00000000 00090000 00000002",
      .snapshotTable: "00000003 00000000 000a0000",
      .incompatibleFeatures: "00000000 00000003",
      .compatibleFeatures: "00000000 00000001",
      .refcounts: "00000000 00090000 00000002 00000003 00000000 000a0000 00000000 00000003 "
        + "00000000 00000001 00000000 00000001 00000006",
      .autoclearFeatures: "00000000 00000001",
    ]
    var patched = GoldenHeaders.plain
    for group in HeaderFieldGroup.allCases {
      #expect(header.patch(group) == expected[group].map(hex))
      patched.replace(at: group.range.lower, with: header.patch(group))
    }
    #expect(try HeaderCluster.parse(patched.span.bytes, for: .check).header == header)
  }
}
