import BlockLayer
import Execution
import Primitives
import Qcow2
import Testing

/// Snapshots, bitmaps, encryption headers, data files; and how a check is asked for.
@Suite struct CheckStructureTests {
  // MARK: - Snapshots

  @Test func aSnapshotSharesEverythingWithTheActiveTree() async throws {
    let result = try await check { image in _ = try await image.addSnapshot() }
    #expect(result.isClean, "\(result.messages)")
    #expect(result.allocatedClusters == 16, "only the active tree is counted")
  }

  @Test func aSnapshotsTableThatIsGoneLeavesLeaks() async throws {
    let result = try await check { image in
      let places = try await image.addSnapshot()
      try await image.write([0], at: places.l1)
    }
    #expect(result.leaks == 17, "an L2 table and 16 clusters, each counted for two")
    #expect(result.corruptions == 0)
  }

  @Test func aDamagedSnapshotIsFoundAndMakesTheWalkIncomplete() async throws {
    let misaligned = try await check { image in
      let places = try await image.addSnapshot()
      try await image.write([UInt64(places.l1 + 512)], at: places.table)
    }
    #expect(
      misaligned.messages.first
        == "ERROR snapshot 1 (a) l1_offset=0x15200: L1 table is not cluster aligned; snapshot "
        + "table entry corrupted")
    #expect(!misaligned.isComplete)
    let large = try await check { image in
      let places = try await image.addSnapshot()
      try await image.write(UInt32.max, at: places.table + 8)
    }
    #expect(
      large.messages.first
        == "ERROR snapshot 1 (a) l1_size=0xffffffff: L1 table is too large; snapshot table entry "
        + "corrupted")
    #expect(!large.isComplete)
  }

  @Test func anEntryWithoutItsDiskSizeIsIncompleteInVersion3Alone() async throws {
    for version in [FormatVersion.v2, .v3] {
      let result = try await check(version: version) { image in
        let places = try await image.addSnapshot()
        // No extra data: the id and name follow at once.
        try await image.write(UInt32(0), at: places.table + 36)
        try await image.write(bytes: Array("1a".utf8), at: places.table + 40)
      }
      let expected = version == .v3 ? ["ERROR snapshot table entry 0 is incomplete"] : []
      #expect(result.messages == expected)
    }
  }

  @Test func aSnapshotTableThatCannotBeReadIsACheckError() async throws {
    let large = try await check { image in
      let places = try await image.addSnapshot()
      try await image.write(UInt32(5000), at: places.table + 36)
    }
    #expect(large.checkErrors == 1)
    let many = try await check { image in
      _ = try await image.addSnapshot()
      try await image.write(UInt32(65537), at: 60)
    }
    #expect(many.checkErrors == 1)
    let misaligned = try await check { image in
      let places = try await image.addSnapshot()
      try await image.write([UInt64(places.table + 512)], at: 64)
    }
    #expect(misaligned.checkErrors == 1)
    #expect(!large.isComplete && !many.isComplete && !misaligned.isComplete)
  }

  @Test func twoSnapshotsWithOneTableOverlap() async throws {
    let result = try await check { image in
      let places = try await image.addSnapshot()
      try await image.write([UInt64(image.l1)], at: places.table)
    }
    #expect(
      result.messages.contains(
        "ERROR cluster 3: inactive L1 table overlaps with active L1 table"), "\(result.messages)")
  }

  // MARK: - Bitmaps

  @Test func bitmapsAreCountedAndStaleOnesAreLeaks() async throws {
    let sound = try await check { image in _ = try await image.addBitmap() }
    #expect(sound.isClean, "\(sound.messages)")
    let stale = try await check { image in
      _ = try await image.addBitmap()
      try await image.write([0], at: 88)
    }
    #expect(stale.leaks == 3, "directory, table, bits")
    #expect(stale.corruptions == 0)
  }

  @Test func aDamagedBitmapTableEntryIsFound() async throws {
    for entry: UInt64 in [0x5200, 1 << 60, 0x10, 0x5001] {
      let result = try await check { image in
        let places = try await image.addBitmap()
        try await image.write([entry], at: places.table)
      }
      let text = "ERROR bitmap 'b': table entry 0 is invalid: 0x\(String(entry, radix: 16))"
      #expect(result.messages.contains(text), "\(result.messages)")
      #expect(!result.isComplete)
    }
  }

  @Test func bitmapsThatOverlapOrLeaveTheFileAreFound() async throws {
    let overlap = try await check { image in
      let places = try await image.addBitmap()
      try await image.write([UInt64(image.l1)], at: places.table)
    }
    #expect(
      overlap.messages.contains("ERROR cluster 3: bitmap data overlaps with active L1 table"))
    #expect(overlap.messages.contains("ERROR cluster 3 refcount=1 reference=2"))
    let outside = try await check { image in
      let places = try await image.addBitmap()
      try await image.write([0x100_0000], at: places.directory)
    }
    #expect(
      outside.messages.contains(
        "ERROR: counting reference for region exceeding the end of the file by one cluster or "
          + "more: offset 0x1000000 size 0x8"), "\(outside.messages)")
  }

  @Test func bitsBehindTheDiskAreFoundUnlessTheBitmapIsInUse() async throws {
    for (flags, expected) in [
      (UInt32(2), ["ERROR bitmap 'b': bits behind the end of the disk are set"]), (3, []),
    ] {
      let result = try await check { image in
        let places = try await image.addBitmap()
        try await image.write(bytes: [UInt8(1)], at: places.bits + 2)  // granule 16 of 16
        try await image.write(flags, at: places.directory + 12)
      }
      #expect(result.messages == expected)
    }
  }

  @Test func aDamagedBitmapDirectoryIsFound() async throws {
    let constraints = try await check { image in
      let places = try await image.addBitmap()
      try await image.write(bytes: [UInt8(63)], at: places.directory + 17)
    }
    #expect(
      constraints.messages.first == "ERROR bitmaps: Bitmap 'b' doesn't satisfy the constraints")
    let header = try await check { image in
      let places = try await image.addBitmap()
      try await image.write(UInt32(0), at: places.header + 8)
    }
    #expect(
      header.messages.first == "ERROR bitmaps: found bitmaps extension with zero bitmaps")
    #expect(!constraints.isComplete && !header.isComplete)
  }

  // MARK: - Encryption and data files

  @Test func theEncryptionHeaderIsCountedWithoutAKey() async throws {
    let sound = try await check { image in try await image.addEncryptionHeader(byteCount: 9000) }
    #expect(sound.isClean, "\(sound.messages)")
    let large = try await check { image in try await image.addEncryptionHeader(byteCount: 1 << 40) }
    #expect(
      large.messages.first == "ERROR encryption header of 1099511627776 bytes is too large")
    #expect(!large.isComplete)
  }

  @Test func clustersOfADataFileHaveNoRefcountAndStandAtTheirGuestOffset() async throws {
    let sound = try await check { image in try await image.useDataFile() }
    #expect(sound.isClean, "\(sound.messages)")
    #expect(sound.allocatedClusters == 16)
    let damaged = try await check { image in
      try await image.useDataFile()
      try await image.setEntry(1, DamagedImage.copied | 0x7000)
      try await image.setEntry(2, 0x2000)
      try await image.setEntry(3, DamagedImage.compressed | 0x5000)
      try await image.setEntry(4, DamagedImage.copied | 0x4200)
    }
    #expect(
      damaged.messages == [
        "ERROR External data file host cluster offset 0x7000 does not match guest cluster offset "
          + "0x1000",
        "ERROR compressed cluster 3 with data file, entry=0x4000000000005000",
        "ERROR offset=4200: Data cluster is not properly aligned; L2 entry corrupted.",
        "ERROR External data file host cluster offset 0x4200 does not match guest cluster offset "
          + "0x4000",
        "ERROR OFLAG_COPIED data cluster: l2_entry=2000 refcount=1",
      ])
    let snapshot = try await check { image in
      try await image.useDataFile()
      try await image.write(UInt32(1), at: 60)
    }
    #expect(snapshot.messages.contains("ERROR 1 snapshots in image with data file"))
  }
}

// MARK: - Adding structures by hand

extension DamagedImage {
  /// Adds a snapshot of the active tree by hand; answers where its L1 table and the table are.
  func addSnapshot() async throws -> (l1: Int, table: Int) {
    let entry = try await word(at: l1)
    let copy = try await append([entry])
    try await setRefcount(2, ofOffset: l2)
    try await write([entry & ~Self.copied], at: l1)
    for index in 0..<16 {
      let offset = try await data(index)
      try await setRefcount(2, ofOffset: offset)
      try await setEntry(index, UInt64(offset))
    }
    var record = Self.bytes(UInt64(copy)) + Self.bytes(UInt32(1))
    record += Self.bytes(UInt16(1)) + Self.bytes(UInt16(1)) + [UInt8](repeating: 0, count: 20)
    record += Self.bytes(UInt32(16)) + Self.bytes(UInt64(0)) + Self.bytes(UInt64(1 << 20))
    let table = try await append(record + Array("1a".utf8))
    try await write(UInt32(1), at: 60)
    try await write([UInt64(table)], at: 64)
    return (copy, table)
  }

  /// Adds a bitmap 'b' of granularity 64 KiB with bits by hand; answers where everything is.
  func addBitmap() async throws -> (header: Int, directory: Int, table: Int, bits: Int) {
    let bits = try await append([UInt8(9)])
    let table = try await append([UInt64(bits)])
    var record = Self.bytes(UInt64(table)) + Self.bytes(UInt32(1)) + Self.bytes(UInt32(2))
    record += [1, 16] + Self.bytes(UInt16(1)) + Self.bytes(UInt32(0)) + Array("b".utf8)
    let directory = try await append(record)
    let header = try await addExtension(
      0x2385_2875,
      Self.bytes(UInt32(1)) + Self.bytes(UInt32(0)) + Self.bytes(UInt64(32))
        + Self.bytes(UInt64(directory)))
    try await write([1], at: 88)
    return (header, directory, table, bits)
  }

  /// Puts a header extension in the place of all others; answers where it is.
  func addExtension(_ type: UInt32, _ body: [UInt8]) async throws -> Int {
    try await write(
      bytes: Self.bytes(type) + Self.bytes(UInt32(body.count)) + body
        + [UInt8](repeating: 0, count: 16),
      at: 112)
    return 112
  }

  func addEncryptionHeader(byteCount: Int) async throws {
    let offset = try await append([UInt8]())
    for _ in 1..<3 { _ = try await append([UInt8]()) }
    _ = try await addExtension(
      0x0537_be77, Self.bytes(UInt64(offset)) + Self.bytes(UInt64(byteCount)))
    try await write(UInt32(2), at: 32)
  }

  /// Makes the image one whose guest data is in another file.
  func useDataFile() async throws {
    for index in 0..<16 {
      try await setRefcount(0, ofOffset: data(index))
      try await setEntry(index, Self.copied | UInt64(index * Self.clusterSize))
    }
    try await write([4], at: 72)
  }
}
