import Primitives
import Qcow2
import Testing

/// Persistent bitmaps: directory, tables, sizes.
@Suite struct BitmapFormatTests {
  private let geometry = Geometry(clusterBits: 16)

  /// `qemu-img bitmap --add bmi b0; qemu-img bitmap --add --disable bmi b1` on a disk of 1 MiB.
  private let golden = hex(
    """
    00000000 000b0000 00000001 00000002 01100002 00000000 62300000 00000000 \
    00000000 000c0000 00000001 00000000 01100002 00000000 62310000 00000000
    """)

  private func parse(
    _ bytes: [UInt8], count: Int = 2, virtualSize: Int = 1 << 20
  ) throws -> [BitmapDirectoryEntry] {
    try BitmapDirectory.parse(
      bytes.span.bytes, bitmapCount: count, geometry: geometry, virtualSize: virtualSize)
  }

  private func message(_ bytes: [UInt8], count: Int = 2, virtualSize: Int = 1 << 20) -> String? {
    do {
      _ = try parse(bytes, count: count, virtualSize: virtualSize)
      return nil
    } catch {
      return "\(error)"
    }
  }

  @Test func qemusDirectoryIsReadAndWrittenByteForByte() throws {
    let entries = try parse(golden)
    #expect(entries.map(\.name) == ["b0", "b1"])
    #expect(entries.map(\.flags) == [.auto, []])
    #expect(entries.map(\.granularity) == [65536, 65536])
    #expect(entries.map(\.tableOffset) == [HostOffset(0xb0000), HostOffset(0xc0000)])
    #expect(entries.map(\.tableEntryCount) == [1, 1])
    #expect(entries.map(\.byteCount) == [32, 32])
    #expect(try BitmapDirectory.serialize(entries) == golden)
  }

  @Test func theDirectoryHasExactlyTheBitmapsThatTheHeaderPromises() {
    #expect(message(golden, count: 1) == "More bitmaps found than specified in header extension")
    #expect(message(golden, count: 3) == "Less bitmaps found than specified in header extension")
    #expect(message([]) == "Requested bitmap directory size is zero")
    for length in 33..<64 {
      #expect(message(Array(golden.prefix(length))) == "Broken bitmap directory", "\(length)")
    }
    #expect(message(golden + [0]) == "Broken bitmap directory")
    #expect(message(golden.patched(18, "ffff")) == "Broken bitmap directory")
    #expect(message(golden.patched(20, "ffffffff")) == "Broken bitmap directory")
  }

  @Test func extraDataIsNotSupported() {
    #expect(message(golden.patched(20, "00000006")) == "Bitmap extra data is not supported")
  }

  /// Patches of the first entry that violate a constraint.
  static let violations: [(Int, String)] = [
    (0, "00000000 00000000"),
    (0, "00000000 000b0200"),
    (0, "ffffffff ffff0000"),
    (0, "7fffffff ffff0000 00002000"),
    (8, "00000000"),
    (8, "08000001"),
    (8, "00002001"),  // 8193 clusters of 64 KiB are more than 512 MiB
    (12, "00000004"),
    (12, "80000002"),
    (16, "00"),
    (16, "02"),
    (17, "08"),
    (17, "20"),
    (18, "0000"),
  ]

  @Test(arguments: violations)
  func aConstraintThatIsViolatedIsReported(offset: Int, dump: String) {
    let name = offset == 18 ? "" : "b0"
    let expected = "Bitmap '\(name)' doesn't satisfy the constraints"
    // An entry in use is bound by the same constraints, except for the table's exact size.
    #expect(message(golden.patched(offset, dump)) == expected)
    guard offset != 12 else { return }
    #expect(message(golden.patched(12, "00000003").patched(offset, dump)) == expected)
  }

  @Test func aNameIsAtMost1023BytesAndUnique() throws {
    let entry = try #require(try parse(golden).first)
    var long = entry
    long.name = EmbeddedName(String(repeating: "n", count: 1023))
    let bytes = try BitmapDirectory.serialize([long, entry])
    #expect(try parse(bytes) == [long, entry])
    #expect(
      message(golden.patched(0x38, "6230"))
        == "Bitmap 'b0' appears more than once in the bitmap directory")
    // 1024 bytes: name length patched, directory extended to hold it.
    let tooLong = bytes.patched(18, "0400").patched(24 + 1023, "6e")
    #expect(message(Array(tooLong.prefix(1048)), count: 1)?.hasSuffix("constraints") == true)
  }

  @Test func theTableOfABitmapThatIsNotInUseHasExactlyTheSizeItNeeds() {
    // 32 GiB / 64 KiB / 8 = 64 KiB: one cluster; a sector more needs two.
    let size = 32 << 30
    #expect(message(golden, virtualSize: size) == nil)
    #expect(
      message(golden, virtualSize: size + 512) == "Bitmap 'b0' doesn't satisfy the constraints")
    let two = golden.patched(8, "00000002")
    #expect(
      message(two, virtualSize: size)
        == "Could not read bitmap 'b0' from image: Invalid argument")
    #expect(message(two.patched(12, "00000003"), virtualSize: size) == nil)
  }

  @Test func aTableEntrySaysWhatItsClusterOfBitsIs() {
    func kind(_ raw: UInt64) -> BitmapTableEntry.Kind? {
      BitmapTableEntry(rawValue: raw).kind(geometry: geometry)
    }
    #expect(kind(0) == .allZeros)
    #expect(kind(1) == .allOnes)
    #expect(kind(0xa0000) == .data(HostOffset(0xa0000)))
    for kinds in [BitmapTableEntry.Kind.allZeros, .allOnes, .data(HostOffset(0xa0000))] {
      #expect(BitmapTableEntry(kinds).kind(geometry: geometry) == kinds)
    }
    for bit in 0..<64 as Range<UInt64> {
      let isUsed = (16..<56).contains(bit)
      #expect((kind(0xa0000 | 1 << bit) != nil) == isUsed, "bit \(bit)")
    }
  }

  @Test func sizesFollowDiskAndGranularity() {
    let terabyte = BitmapSizes(virtualSize: 1 << 40, granularityBits: 16)
    #expect(terabyte.bitCount == 1 << 24)
    #expect(terabyte.serializedByteCount == 2 << 20)
    #expect(terabyte.tableEntryCount(geometry: geometry) == 32)
    let small = BitmapSizes(virtualSize: 1, granularityBits: 31)
    #expect(small.bitCount == 1)
    #expect(small.serializedByteCount == 8)
    #expect(small.tableEntryCount(geometry: geometry) == 1)
    let empty = BitmapSizes(virtualSize: 0, granularityBits: 16)
    #expect(empty.tableEntryCount(geometry: geometry) == 0)
    #expect(BitmapSizes(virtualSize: .max, granularityBits: 9).bitCount == 1 << 54)
    #expect(BitmapSizes.bitsPerCluster(geometry: geometry) == 524288)
  }

  @Test func aBitmapMayHave512MiB() {
    func isStorable(_ size: Int, _ bits: Int) -> Bool {
      BitmapSizes(virtualSize: size, granularityBits: bits).isStorable(geometry: geometry)
    }
    #expect(isStorable(2 << 40, 9))
    #expect(!isStorable(4 << 40, 9))
    #expect(isStorable(4 << 40, 10))
    #expect(!isStorable(1 << 60, 16))
    #expect(isStorable(1 << 60, 31))
    #expect(isStorable(256 << 40, 16))
    #expect(!isStorable(256 << 40, 15))
  }
}
