import BlockLayer
import Qcow2
import Testing

/// L1 and L2 entries, and where they lead.
@Suite struct CheckMappingTests {
  /// One entry in place of the first, and a finding that it must bring about.
  struct Case: Sendable, CustomTestStringConvertible {
    let entry: UInt64
    let message: String
    var version = FormatVersion.v3
    var isComplete = true
    var testDescription: String { String(entry, radix: 16) }
  }

  static let entries = [
    Case(
      entry: 0x8000_0000_0000_5010,
      message: "ERROR found l2 entry with reserved bits set: 8000000000005010"),
    Case(
      entry: 0x8100_0000_0000_5000,
      message: "ERROR found l2 entry with reserved bits set: 8100000000005000"),
    Case(
      entry: 0x8000_0000_0000_5200,
      message: "ERROR offset=5200: Data cluster is not properly aligned; L2 entry corrupted."),
    Case(
      entry: 0x8000_0000_0000_5201,
      message: "ERROR offset=5200: Preallocated cluster is not properly aligned; "
        + "L2 entry corrupted."),
    Case(
      entry: 0x8000_0000_0010_0000,
      message: "ERROR: counting reference for region exceeding the end of the file by one "
        + "cluster or more: offset 0x100000 size 0x1000", isComplete: false),
    Case(
      entry: 0xc000_0000_0000_5000,
      message: "ERROR: coffset=0x5000: copied flag must never be set for compressed clusters"),
    Case(
      entry: 0x4000_0000_0010_0003,
      message: "ERROR: counting reference for region exceeding the end of the file by one "
        + "cluster or more: offset 0x100003 size 0x1fd", isComplete: false),
    Case(
      entry: 0x8000_0000_0000_6000,
      message: "offset=6000: Data cluster is mapped more than once (guest offset 0x1000)"),
    Case(
      entry: 0x8000_0000_0000_1000,
      message: "ERROR offset=1000: Data cluster overlaps with refcount table (guest offset 0x0)"),
    Case(
      entry: 0x8000_0000_0000_4000,
      message: "ERROR offset=4000: Data cluster overlaps with active L2 table (guest offset 0x0)"),
    Case(
      entry: 0x4000_0000_0000_2000,
      message: "ERROR offset=2000: Data cluster overlaps with refcount block (guest offset 0x0)"),
    Case(
      entry: 0x8000_0000_0000_0000,
      message: "ERROR L2 entry without a cluster has its copied flag set: "
        + "l2_entry=8000000000000000"),
    Case(
      entry: 0x8000_0000_0000_5001,
      message: "ERROR zero cluster in an image of version 2: l2_entry=8000000000005001",
      version: .v2),
  ]

  @Test(arguments: entries)
  func aDamagedL2EntryIsFound(_ one: Case) async throws {
    let result = try await check(version: one.version) { image in
      try await image.setEntry(0, one.entry)
    }
    #expect(result.messages.contains(one.message), "\(result.messages)")
    #expect(result.corruptions > 0)
    #expect(result.checkErrors == 0)
    #expect(result.isComplete == one.isComplete)
  }

  static let tables = [
    Case(
      entry: 0x8100_0000_0000_4010,
      message: "ERROR found L1 entry with reserved bits set: 8100000000004010"),
    Case(
      entry: 0x8000_0000_0000_4200,
      message: "ERROR l2_offset=4200: Table is not cluster aligned; L1 entry corrupted",
      isComplete: false),
    Case(
      entry: 0x8000_0000_0010_0000,
      message: "ERROR OFLAG_COPIED L2 cluster: l1_index=0 l1_entry=8000000000100000 refcount=0",
      isComplete: false),
    Case(
      entry: 0x8000_0000_0000_0000,
      message: "ERROR L1 entry without a table has its copied flag set: "
        + "l1_index=0 l1_entry=8000000000000000"),
    Case(
      entry: 0x8000_0000_0000_2000,
      message: "ERROR cluster 2: active L2 table overlaps with refcount block", isComplete: false),
  ]

  @Test(arguments: tables)
  func aDamagedL1EntryIsFound(_ one: Case) async throws {
    let result = try await check { image in try await image.write([one.entry], at: image.l1) }
    #expect(result.messages.contains(one.message), "\(result.messages)")
    #expect(result.corruptions > 0)
    #expect(result.isComplete == one.isComplete)
  }

  @Test func preallocatedZerosAndPlainZerosAreSound() async throws {
    let result = try await check { image in
      try await image.setEntry(0, DamagedImage.copied | UInt64(image.data(0)) | 1)
      try await image.setEntry(100, 1)
    }
    #expect(result.isClean, "\(result.messages)")
    #expect(result.allocatedClusters == 16)
  }

  @Test func compressedClustersReferToEveryClusterTheyTouch() async throws {
    let result = try await check { image in
      // Two streams in one cluster, the second with its last sector in the next.
      let first = try await image.append([UInt8](repeating: 7, count: 4096))
      _ = try await image.append([UInt8](repeating: 7, count: 4096))
      try await image.setRefcount(2, ofOffset: first)
      let sectors: UInt64 = 1 << 58
      try await image.setEntry(100, DamagedImage.compressed | UInt64(first + 5))
      try await image.setEntry(
        101, DamagedImage.compressed | sectors * 4 | UInt64(first + 4096 - 512 * 4 + 9))
    }
    #expect(result.isClean, "\(result.messages)")
    #expect(result.compressedClusters == 2)
    #expect(result.allocatedClusters == 18)
    #expect(result.fragmentedClusters == 2)
    #expect(result.imageEndOffset == 23 * 4096)
  }

  @Test func clustersThatDoNotFollowEachOtherAreFragmented() async throws {
    let result = try await check { image in
      let (first, third) = (try await image.data(0), try await image.data(2))
      try await image.setEntry(0, DamagedImage.copied | UInt64(third))
      try await image.setEntry(2, DamagedImage.copied | UInt64(first))
    }
    #expect(result.isClean, "\(result.messages)")
    #expect(result.fragmentedClusters == 3)
  }

  @Test func anL1TableThatReachesOutOfTheFileIsFollowedAsFarAsItGoes() async throws {
    let result = try await check { image in
      let end = image.file.length
      try await image.write([image.word(at: image.l1)], at: end)
      try await image.write(UInt32(4096), at: 36)
      try await image.write([UInt64(end)], at: 40)
    }
    #expect(
      result.messages.first
        == "ERROR: counting reference for region exceeding the end of the file by one cluster or "
        + "more: offset 0x15000 size 0x8000")
    #expect(result.allocatedClusters == 16)
    #expect(result.leaks == 1, "the old table's cluster")
    #expect(!result.isComplete)
  }

  @Test func anL1TableAtTheVeryEndOfTheFileIsSound() async throws {
    let result = try await check { image in
      let end = image.file.length
      try await image.write([UInt64(end)], at: 40)
      for index in 0..<16 { try await image.setRefcount(0, ofOffset: image.data(index)) }
      try await image.setRefcount(0, ofOffset: image.l1)
      try await image.setRefcount(0, ofOffset: image.l2)
      try await image.setRefcount(1, ofOffset: end)
    }
    #expect(result.isClean, "\(result.messages)")
    #expect(result.imageEndOffset == 22 * 4096)
  }

  @Test func whatTheHeaderNamesMustNotOverlap() async throws {
    let result = try await check { image in
      try await image.write([UInt64(image.refcountTable)], at: 40)
    }
    #expect(
      result.messages.contains("ERROR cluster 1: refcount table overlaps with active L1 table"),
      "\(result.messages)")
  }

  @Test func aTruncatedFileIsACorruptionAndItsLastClusterMayBeShort() async throws {
    let short = try await check { image in try await image.disk.resize(to: 20 * 4096 + 1) }
    #expect(short.isClean, "\(short.messages)")
    let cut = try await check { image in try await image.disk.resize(to: 20 * 4096) }
    #expect(
      cut.messages == [
        "ERROR: counting reference for region exceeding the end of the file by one cluster or "
          + "more: offset 0x14000 size 0x1000"
      ])
    #expect(!cut.isComplete)
    #expect(cut.leaks == 0, "what was cut off is lost, not leaked")
  }

  @Test func anL2TableThatWasCutOffKeepsItsRefcount() async throws {
    let result = try await check { image in
      let table = try await image.append([UInt64]())
      try await image.write(UInt32(2), at: 36)
      try await image.write([DamagedImage.copied | UInt64(table)], at: image.l1 + 8)
      try await image.disk.resize(to: table)
    }
    #expect(
      result.messages == [
        "ERROR: counting reference for region exceeding the end of the file by one cluster or "
          + "more: offset 0x15000 size 0x1000"
      ])
  }
}
