import Primitives
import Qcow2
import Testing

@Suite struct HeaderExtensionTests {
  private func parse(
    _ bytes: [UInt8], for purpose: OpenPurpose = .readWrite
  ) throws -> HeaderCluster {
    try HeaderCluster.parse(bytes.span.bytes, for: purpose)
  }

  private let small = GoldenHeaders.smallClusters

  @Test func aKnownExtensionThatStandsTwiceIsRefused() {
    let bytes = small.patched(
      112, "e2792aca 00000003 72617700 00000000 e2792aca 00000005 71636f77 32000000")
    #expect(
      throws: Qcow2FormatError(
        .invalidExtension, "Header extension 0xe2792aca appears more than once")
    ) { try parse(bytes) }
  }

  @Test func extensionsEndAtTheBackingFilesNameEvenWithoutAMarker() throws {
    let bytes = small.patched(8, "00000000 00000080 00000004")
      .patched(112, "e2792aca 00000005 71636f77 32000000 'base'")
    let cluster = try parse(bytes)
    #expect(cluster.extensions.backingFormat == "qcow2")
    #expect(cluster.backingFileName == "base")
    #expect(cluster.extensions.unknown.isEmpty)
  }

  @Test func anExtensionMayEndWithTheClusterButNotBehindIt() throws {
    // 512 − 112 − 8 = 392 bytes are left for the body.
    let fits = small.patched(112, "cafe0001 00000188")
    #expect(try parse(fits).extensions.unknown.first?.body.count == 392)
    for length in ["00000189", "7fffffff", "fffffff9", "ffffffff"] {
      #expect(throws: Qcow2FormatError(.invalidExtension, "Header extension too large")) {
        try parse(small.patched(112, "cafe0001 " + length))
      }
    }
  }

  @Test func anExtensionMayNotReachIntoTheBackingFilesName() {
    let bytes = small.patched(8, "00000000 00000080 00000004")
      .patched(112, "cafe0001 00000009 00*8 'base'")
    #expect(throws: Qcow2FormatError(.invalidExtension, "Header extension too large")) {
      try parse(bytes)
    }
  }

  @Test func aBackingFormatIsPrintable() {
    for name in ["72006177", "0a617762"] {
      #expect(throws: Qcow2FormatError.self) {
        try parse(small.patched(112, "e2792aca 00000004 \(name) 00000000"))
      }
    }
  }

  @Test func aNameBesideTheDataFileBitIsRefused() {
    let bytes = small.patched(112, "44415441 00000004 'file' 00000000")
    #expect(throws: Qcow2FormatError.self) { try parse(bytes) }
    let withBit = bytes.patched(72, "00000000 00000004")
    #expect(throws: Never.self) { try parse(withBit) }
    #expect(throws: Qcow2FormatError.self) { try parse(withBit.patched(121, "00")) }
  }

  @Test func aBitmapsExtensionWithoutItsBitIsStaleAndNotWrittenAgain() throws {
    let stale = GoldenHeaders.bitmaps.patched(88, "00*8")
    let cluster = try parse(stale)
    #expect(cluster.extensions.bitmaps == nil)
    #expect(cluster.extensions.bitmapsDefect == .stale)
    #expect(try parse(cluster.serialize()).extensions.bitmapsDefect == nil)
    // Whatever the stale extension says does not matter.
    #expect(throws: Never.self) { try parse(stale.patched(0x200, "ffffffff ffffffff")) }
  }

  @Test func aVersion2ImagesBitmapsAreAlwaysStale() throws {
    let bytes = GoldenHeaders.version2.patched(
      72, "23852875 00000018 00000002 00000000 00000000 00000040 00000000 000d0000")
    let defect = try parse(bytes).extensions.bitmapsDefect
    #expect(defect == .stale)
    #expect(defect?.warning(version: .v2).hasPrefix("This qcow2 v2 image contains bitmaps") == true)
    #expect(defect?.warning(version: .v3).contains("lacking bitmap support") == true)
  }

  static let bitmapFaults: [(String, String)] = [
    ("00000000", "found bitmaps extension with zero bitmaps"),
    (
      "00010000",
      "bitmaps_ext: Image has 65536 bitmaps, exceeding the QEMU supported maximum of 65535"
    ),
    ("00000001 00000001", "bitmaps_ext: Reserved field is not zero"),
    (
      "00000001 00000000 00000000 03fffc01",
      "bitmaps_ext: bitmap directory size (67107841) exceeds the maximum supported size (67107840)"
    ),
    (
      "00000001 00000000 00000000 00000020 00000000 000d0200",
      "bitmaps_ext: invalid bitmap directory offset"
    ),
    (
      "00000001 00000000 00000000 00000020 80000000 00000000",
      "bitmaps_ext: invalid bitmap directory offset"
    ),
  ]

  @Test(arguments: bitmapFaults)
  func aBrokenBitmapsExtensionStopsOnlyWriters(dump: String, message: String) throws {
    let bytes = GoldenHeaders.bitmaps.patched(0x200, dump)
    let error = #expect(throws: Qcow2FormatError.self) { try parse(bytes) }
    #expect(error?.message == message)
    let cluster = try parse(bytes, for: .readOnly)
    #expect(cluster.extensions.bitmaps == nil)
    #expect(cluster.extensions.bitmapsDefect == error.map { .invalid($0) })
  }

  @Test func garbledFeatureNamesAreNeverFatal() throws {
    let bytes = small.patched(112, "6803f857 00000033 ffff ff*46 ffff00 00*5")
    let names = try parse(bytes).extensions.featureNames
    #expect(names.count == 1)
    #expect(names[0].rawKind == 255)
    #expect(names[0].name.bytes.count == 46)
    #expect(try parse(small.patched(112, "6803f857 00000000")).extensions.featureNames.isEmpty)
  }

  @Test func aTornRebaseIsRepairableButNotReadable() throws {
    let bytes = GoldenHeaders.overlay.patched(0x214, "00*4")
    #expect(throws: Qcow2FormatError.self) { try parse(bytes, for: .readOnly) }
    #expect(try parse(bytes, for: .check).backingFileName?.containsNUL == true)
  }

  @Test func namesAreBytesAndPrintAsHarmlessText() {
    let name = EmbeddedName(bytes: hex("1b 'A' ff c2 85 c3 a4"))
    #expect(name.text == nil)
    #expect(name.description == "?A??ä")
    #expect(EmbeddedName("bäse").text == "bäse")
    #expect(!EmbeddedName("bäse").isPrintableASCII)
  }
}
