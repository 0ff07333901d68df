import Primitives
import Qcow2
import Testing

/// What makes an image unusable, with the exact text, and which of two faults is reported.
@Suite struct HeaderOpeningTests {
  /// A header with one fault.
  struct Fault: Sendable, CustomTestStringConvertible {
    let patches: [(Int, String)]
    let message: String
    let code: Qcow2FormatError.Code

    init(_ code: Qcow2FormatError.Code, _ message: String, _ patches: (Int, String)...) {
      self.code = code
      self.message = message
      self.patches = patches
    }

    var testDescription: String { message }

    func apply(to bytes: [UInt8]) -> [UInt8] {
      patches.reduce(bytes) { $0.patched($1.0, $1.1) }
    }
  }

  /// In the order in which openers report them: of two faults, the earlier one is reported.
  static let faults: [Fault] = [
    Fault(.notQcow2, "Image is not in qcow2 format", (0, "51464900")),
    Fault(.unsupported, "Unsupported qcow2 version 4", (4, "00000004")),
    Fault(.unsupported, "Unsupported cluster size: 2^22", (20, "00000016")),
    Fault(.invalidHeader, "qcow2 header too short", (100, "00000067")),
    Fault(.invalidHeader, "Invalid backing file offset", (8, "00000000 00010001")),
    Fault(.unsupported, "qcow2: unknown compression type: 2", (104, "02")),
    Fault(
      .unsupported, "Unsupported qcow2 feature(s): Unknown incompatible feature: 8000000000000020",
      (72, "80000000 00000020")),
    Fault(
      .unsupported, "Reference count entry width too large; may not exceed 64 bits",
      (96, "00000007")),
    Fault(.invalidTable, "Image does not contain a reference count table", (56, "00000000")),
    Fault(.tooLarge, "Snapshot table too large", (60, "00010001")),
    Fault(.tooLarge, "Active L1 table too large", (36, "00400001")),
    Fault(.unsupported, "Unsupported encryption method 3", (32, "00000003")),
    Fault(.invalidExtension, "Header extension too large", (112, "11223344 0000ff89")),
  ]

  /// Faults that exclude each other in the list above, or hide in the same bytes.
  static let moreFaults: [Fault] = [
    Fault(.unsupported, "Unsupported qcow2 version 1", (4, "00000001")),
    Fault(.unsupported, "Unsupported cluster size: 2^8", (20, "00000008")),
    Fault(.unsupported, "Unsupported cluster size: 2^4294967295", (20, "ffffffff")),
    Fault(.invalidHeader, "qcow2 header exceeds cluster size", (100, "00010001")),
    Fault(.invalidHeader, "qcow2 header exceeds cluster size", (100, "ffffffff")),
    Fault(.invalidHeader, "Invalid backing file offset", (8, "ffffffff ffffffff")),
    Fault(.invalidHeader, "Invalid backing file offset", (8, "00000000 00000020")),
    Fault(
      .invalidHeader, "qcow2: Compression type incompatible feature bit must not be set",
      (72, "00000000 00000008")),
    Fault(
      .invalidHeader, "qcow2: Compression type incompatible feature bit must be set",
      (104, "01")),
    Fault(
      .markedCorrupt, "qcow2: Image is corrupt; cannot be opened read/write",
      (72, "00000000 00000002")),
    Fault(
      .unsupported, "Unsupported subcluster size: 256",
      (72, "00000000 00000010"), (20, "0000000d"), (36, "00001000")),
    Fault(
      .unsupported, "Reference count entry width too large; may not exceed 64 bits",
      (96, "ffffffff")),
    Fault(.tooLarge, "Reference count table too large", (56, "00000081")),
    Fault(.tooLarge, "Reference count table too large", (56, "ffffffff")),
    Fault(.invalidTable, "Reference count table offset invalid", (48, "00000000 00010200")),
    Fault(.invalidTable, "Reference count table offset invalid", (48, "ffffffff ffff0000")),
    Fault(.invalidTable, "Reference count table offset invalid", (48, "7fffffff ffff0000")),
    Fault(
      .invalidTable, "Snapshot table offset invalid", (60, "00000001 00000000 00000200")),
    Fault(.invalidTable, "Active L1 table offset invalid", (40, "00000000 00030200")),
    Fault(.invalidTable, "Active L1 table offset invalid", (40, "80000000 00000000")),
    Fault(.invalidTable, "L1 table is too small", (36, "00000000")),
    Fault(.invalidTable, "L1 table is too small", (24, "00000000 20000001")),
    Fault(.tooLarge, "Image is too big", (24, "ffffffff ffffffff")),
    Fault(
      .invalidExtension, "ERROR: ext_backing_format: len=384 too large (>=16)", (112, "e2792aca")),
    Fault(
      .invalidExtension, "CRYPTO header extension only expected with LUKS encryption method",
      (112, "0537be77")),
    Fault(
      .invalidExtension, "CRYPTO header extension size 384, but expected size 16",
      (32, "00000002"), (112, "0537be77")),
    Fault(
      .invalidExtension,
      "Encryption header offset '512' is not a multiple of cluster size '65536'",
      (32, "00000002"), (112, "0537be77 00000010 00000000 00000200 00000000 00000200")),
    Fault(
      .invalidExtension, "Missing CRYPTO header for crypt method 2", (32, "00000002")),
    Fault(.invalidExtension, "bitmaps_ext: Invalid extension length", (112, "23852875")),
    Fault(.invalidHeader, "data-file-raw requires a data file", (88, "00000000 00000002")),
    Fault(
      .invalidHeader, "Backing file name too long", (8, "00000000 00001000 00000400")),
    Fault(
      .invalidHeader, "Backing file name too long", (8, "00000000 0000fff0 00000011")),
    Fault(
      .invalidHeader, "Backing file name contains a zero byte; set it anew with rebase",
      (8, "00000000 00001000 00000008"), (0x1000, "'base'")),
  ]

  private func error(_ bytes: [UInt8], for purpose: OpenPurpose) -> Qcow2FormatError? {
    do {
      _ = try HeaderCluster.parse(bytes.span.bytes, for: purpose)
      return nil
    } catch {
      return error
    }
  }

  @Test(arguments: faults + moreFaults)
  func aFaultyHeaderIsRefusedWithItsText(fault: Fault) {
    let bytes = fault.apply(to: GoldenHeaders.plain)
    #expect(
      error(bytes, for: .readWrite) == Qcow2FormatError(fault.code, fault.message))
  }

  @Test func ofTwoFaultsTheEarlierCheckIsReported() {
    for (index, first) in Self.faults.enumerated() {
      for second in Self.faults[(index + 1)...] {
        let bytes = first.apply(to: second.apply(to: GoldenHeaders.plain))
        #expect(
          error(bytes, for: .readWrite)?.message == first.message,
          "with \(second.message) beside it")
      }
    }
  }

  @Test func anUnknownFeatureIsCalledAsTheImageCallsIt() {
    // Entry 1 of the table, "corrupt bit", renamed to bit 5; bit 6 has no name.
    let named = GoldenHeaders.plain.patched(0xa8, "0005").patched(72, "00000000 00000020")
    #expect(
      error(named, for: .readOnly)?.message == "Unsupported qcow2 feature(s): corrupt bit")
    let both = named.patched(72, "00000000 00000060")
    #expect(
      error(both, for: .readOnly)?.message
        == "Unsupported qcow2 feature(s): corrupt bit, Unknown incompatible feature: 40")
  }

  @Test func featureNamesCannotCarryControlCharactersIntoAMessage() {
    let bytes = GoldenHeaders.plain.patched(0xa8, "0005 1b5b324a").patched(72, "00000000 00000020")
    #expect(
      error(bytes, for: .readOnly)?.message == "Unsupported qcow2 feature(s): ?[2Jupt bit")
  }

  @Test func aCorruptImageOpensForReadingAndForChecking() {
    let bytes = GoldenHeaders.plain.patched(72, "00000000 00000002")
    #expect(error(bytes, for: .readOnly) == nil)
    #expect(error(bytes, for: .check) == nil)
  }

  @Test func aDirtyImageSaysSo() throws {
    let bytes = GoldenHeaders.plain.patched(72, "00000000 00000001")
    #expect(try HeaderCluster.parse(bytes.span.bytes, for: .readOnly).header.isDirty)
  }

  @Test func aCheckOpensImagesWithoutARefcountTableAndWithTooManySnapshots() {
    #expect(error(GoldenHeaders.plain.patched(56, "00000000"), for: .check) == nil)
    #expect(error(GoldenHeaders.plain.patched(60, "00010001"), for: .check) == nil)
  }

  @Test func theSizeIsRoundedDownToWholeSectors() throws {
    let bytes = GoldenHeaders.plain.patched(24, "00000000 000003ff")
    let header = try HeaderCluster.parse(bytes.span.bytes, for: .readWrite).header
    #expect(header.virtualSize == 512)
  }

  @Test func anL1TableLargerThanTheSizeNeedsIsAccepted() throws {
    // What `qemu-img resize --shrink` from 2 GiB to 1 GiB leaves.
    let bytes = GoldenHeaders.plain.patched(36, "00000004").patched(24, "00000000 40000000")
    let header = try HeaderCluster.parse(bytes.span.bytes, for: .readWrite).header
    #expect(header.l1EntryCount == 4)
    #expect(header.geometry.l1EntryCount(forSize: header.virtualSize) == 2)
  }

  @Test func aSnapshotTableOffsetWithoutSnapshotsHasNoMeaning() throws {
    let bytes = GoldenHeaders.plain.patched(64, "ffffffff ffffffff")
    let header = try HeaderCluster.parse(bytes.span.bytes, for: .readWrite).header
    #expect(header.snapshotTableOffset == .zero)
  }

  @Test func unknownAutoclearBitsAreReported() throws {
    let bytes = GoldenHeaders.plain.patched(88, "80000000 00000001")
    let header = try HeaderCluster.parse(bytes.span.bytes, for: .readWrite).header
    #expect(header.unknownAutoclearFeatures.rawValue == 1 << 63)
  }

  @Test func theClusterSizeIsToldByTheFirstBytes() throws {
    let prefix = Array(GoldenHeaders.smallClusters.prefix(Header.prefixByteCount))
    #expect(try Header.clusterSize(ofImageStarting: prefix.span.bytes) == 512)
    let nothing: [UInt8] = []
    #expect(throws: Qcow2FormatError(.notQcow2, "Image is not in qcow2 format")) {
      try Header.clusterSize(ofImageStarting: nothing.span.bytes)
    }
  }
}
