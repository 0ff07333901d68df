import Primitives
import Qcow2
import Testing

@Suite struct SnapshotTableEntryTests {
  /// `qemu-img snapshot -c first sn` on a disk of 1 MiB; the file ends without the padding.
  private let golden = hex(
    """
    00000000 00060000 00000001 00010005 6b038a2c 2f918938 00000000 00000000 \
    00000000 00000018 00000000 00000000 00000000 00100000 00000000 00000000 '1first'
    """)

  private func parse(_ bytes: [UInt8], at position: Int = 0) throws -> (SnapshotTableEntry, Int)? {
    let found = try SnapshotTableEntry.parse(at: position, in: bytes.span.bytes, index: 4)
    return found.map { ($0.entry, $0.next) }
  }

  @Test func qemusEntryIsReadAndWrittenByteForByte() throws {
    let (entry, next) = try #require(try parse(golden))
    #expect(next == 72)
    #expect(entry.l1TableOffset == HostOffset(0x60000))
    #expect(entry.l1EntryCount == 1)
    #expect(entry.id == "1" && entry.name == "first")
    #expect(entry.seconds == 0x6b03_8a2c && entry.nanoseconds == 0x2f91_8938)
    #expect(entry.guestClockNanoseconds == 0)
    #expect(entry.vmStateByteCount == 0)
    #expect(entry.diskByteCount == 1 << 20)
    #expect(entry.instructionCount == 0)
    #expect(entry.hasRequiredExtraData)
    #expect(entry.l1TableDefect(geometry: Geometry(clusterBits: 16)) == nil)
    #expect(entry.serialize(virtualSize: 7) == golden + [0, 0])
  }

  @Test func aShortTableAsksForMore() throws {
    for length in 0..<golden.count {
      #expect(try parse(Array(golden.prefix(length))) == nil, "\(length) bytes")
    }
    let two = golden + [0, 0] + golden
    #expect(try parse(two, at: 72)?.1 == 144)
    #expect(try parse(two, at: 144) == nil)
    #expect(try parse(two, at: 1000) == nil)
  }

  @Test func anOldEntryWithoutExtraDataTakesTheImagesSize() throws {
    let old = Array(golden.prefix(40)).patched(36, "00000000").patched(32, "00001234")
    let (entry, next) = try #require(try parse(old + hex("'1first' 0000")))
    #expect(next == 48)
    #expect(entry.vmStateByteCount == 0x1234)
    #expect(entry.diskByteCount == nil && entry.instructionCount == nil)
    #expect(!entry.hasRequiredExtraData)
    let again = try #require(try parse(entry.serialize(virtualSize: 1 << 20))).0
    #expect(again.diskByteCount == 1 << 20)
    #expect(again.vmStateByteCount == 0x1234)
    #expect(again.name == "first")
  }

  @Test func extraDataMayStopBehindAnyOfItsFields() throws {
    let values: [(Int, UInt64, UInt64?, UInt64?)] = [
      (0, 0x1234, nil, nil), (8, 5, nil, nil), (16, 5, 6, nil), (24, 5, 6, 7),
    ]
    let extra = hex("0000000000000005 0000000000000006 0000000000000007")
    for (count, state, disk, instructions) in values {
      let fixed = Array(golden.prefix(40)).patched(32, "00001234")
      var bytes = fixed + Array(extra.prefix(count)) + hex("'1first' 0000")
      bytes[39] = UInt8(count)
      let (entry, _) = try #require(try parse(bytes))
      #expect(entry.vmStateByteCount == state, "\(count) bytes")
      #expect(entry.diskByteCount == disk, "\(count) bytes")
      #expect(entry.instructionCount == instructions, "\(count) bytes")
      #expect(entry.unknownExtraData.isEmpty && entry.name == "first", "\(count) bytes")
    }
  }

  @Test func extraDataOfLaterVersionsIsKept() throws {
    let bytes = golden.patched(36, "0000001e").patched(64, "00*6") + hex("'1first' 00*2")
    let longer = bytes.patched(64, "010203040506")
    let (entry, _) = try #require(try parse(longer))
    #expect(entry.unknownExtraData == [1, 2, 3, 4, 5, 6])
    #expect(entry.id == "1" && entry.name == "first")
    #expect(try #require(try parse(entry.serialize(virtualSize: 0))).0 == entry)
  }

  @Test func aLargeVMStateIsInTheExtraDataAlone() throws {
    var entry = try #require(try parse(golden)).0
    entry.vmStateByteCount = 5 << 32
    let bytes = entry.serialize(virtualSize: 0)
    #expect(Array(bytes[32..<36]) == [0, 0, 0, 0])
    #expect(try #require(try parse(bytes)).0.vmStateByteCount == 5 << 32)
    entry.vmStateByteCount = 77
    #expect(Array(entry.serialize(virtualSize: 0)[32..<36]) == [0, 0, 0, 77])
  }

  @Test func tooMuchExtraDataIsRefused() {
    for dump in ["00000401", "ffffffff"] {
      #expect(
        throws: Qcow2FormatError(
          .invalidSnapshot, "Too much extra metadata in snapshot table entry 4")
      ) { try parse(golden.patched(36, dump)) }
    }
    #expect(throws: Never.self) { try parse(golden.patched(36, "00000400")) }
  }

  @Test func aTableBeyond64MiBIsRefused() throws {
    let large = [UInt8](repeating: 0, count: 40)
    #expect(try parse(large)?.1 == 40)
    let limit = FormatLimits.maximumSnapshotTableBytes
    let table = [UInt8](repeating: 0, count: limit + 64)
    #expect(try parse(table, at: limit - 40)?.1 == limit)
    #expect(throws: Qcow2FormatError(.tooLarge, "Snapshot table is too big")) {
      try parse(table, at: limit - 32)
    }
  }

  @Test func theL1TableOfASnapshotIsBounded() throws {
    let geometry = Geometry(clusterBits: 16)
    func defect(_ offset: Int, _ count: Int) throws -> String? {
      var entry = try #require(try parse(golden)).0
      entry.l1TableOffset = HostOffset(offset)
      entry.l1EntryCount = count
      return entry.l1TableDefect(geometry: geometry)?.message
    }
    #expect(try defect(0x60000, 4_194_304) == nil)
    #expect(try defect(0x60000, 4_194_305) == "Snapshot L1 table too large")
    #expect(try defect(0x60200, 1) == "Snapshot L1 table offset invalid")
    #expect(try defect(0, 1) == "Snapshot L1 table offset invalid")
    #expect(try defect(0, 0) == nil)
    #expect(try defect(Int.max - 0xffff, 0x10000) == "Snapshot L1 table offset invalid")
    #expect(throws: Qcow2FormatError.self) { try parse(golden.patched(0, "80000000")) }
  }
}
