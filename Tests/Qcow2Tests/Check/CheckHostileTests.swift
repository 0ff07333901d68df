import BlockLayer
import Execution
import Primitives
import Qcow2
import Synchronization
import Testing

/// Images that are made to waste time and memory, and files that cannot be read.
@Suite struct CheckHostileTests {
  /// Small limits, so that a debug build needs no time to reach them.
  private static var small: CheckLimits {
    var limits = CheckLimits()
    limits.zeroBytes = 1 << 16
    limits.hollowClusters = 1000
    limits.repeatedBytes = 1 << 16
    limits.findings = 10
    return limits
  }

  @Test func findingsAreKeptUpToALimitAndCountedBeyondIt() async throws {
    let result = try await check(limits: Self.small) { image in
      try await image.write([0], at: image.refcountTable)
    }
    #expect(result.findings.count == 10)
    #expect(result.corruptions == 37)
  }

  @Test func aFileOfAnExbibyteIsNoMoreWorkThanItsTables() async throws {
    let result = try await check(limits: Self.small) { image in
      try await image.disk.resize(to: 1 << 60)
      // 512 tables in holes all over the file, and an L1 table that is mostly hole itself.
      let tables = (0..<512).map { UInt64(1 << 40 + $0 << 47) }
      try await image.write(tables, at: 1 << 30)
      try await image.write(UInt32(1 << 20), at: 36)
      try await image.write([1 << 30], at: 40)
    }
    #expect(result.checkErrors == 1)
    #expect(result.messages.last?.contains("implausible image") == true, "\(result.messages)")
  }

  @Test func tablesInHolesAreNotReadOneByOne() async throws {
    let reads = try await countedReads { image in
      try await image.disk.resize(to: 1 << 60)
      try await image.write((0..<4096).map { UInt64(1 << 40 + $0 << 12) }, at: 1 << 30)
      try await image.write(UInt32(4096), at: 36)
      try await image.write([1 << 30], at: 40)
    }
    #expect(reads.result.checkErrors == 0)
    #expect(reads.count < 200, "\(reads.count) reads for 4096 tables in one hole")
  }

  @Test func aTableSharedByThousandsIsReadOnceAndCountedForEach() async throws {
    let reads = try await countedReads { image in
      let entry = try await image.word(at: image.l1)
      let end = image.file.length
      try await image.write([UInt64](repeating: entry, count: 4096), at: end)
      try await image.write(UInt32(4096), at: 36)
      try await image.write([UInt64(end)], at: 40)
    }
    #expect(reads.count < 100, "\(reads.count) reads")
    #expect(reads.result.allocatedClusters == 16 * 4096)
    #expect(reads.result.messages.contains("ERROR cluster 4 refcount=1 reference=4096"))
  }

  @Test func snapshotsLaidOverEachOtherAreGivenUp() async throws {
    let result = try await check(limits: Self.small) { image in
      let (l1, table) = try await image.addSnapshot()
      var record = DamagedImage.bytes(UInt64(l1)) + DamagedImage.bytes(UInt32(512))
      record += [UInt8](repeating: 0, count: 24) + DamagedImage.bytes(UInt32(16))
      record += [UInt8](repeating: 0, count: 16)
      for index in 0..<1000 { try await image.write(bytes: record, at: table + 64 + index * 56) }
      try await image.write(UInt32(1001), at: 60)
    }
    #expect(result.checkErrors == 1)
    #expect(
      result.messages.last
        == "the check was given up: implausible image, its tables overlap in more than 65536 bytes")
  }

  @Test func oneBlockForTheWholeRefcountTableIsGivenUp() async throws {
    for bits: UInt64 in [0, 1] {  // sound entries, and ones with a reserved bit
      let result = try await check(limits: Self.small) { image in
        let entry = UInt64(image.refcountBlock) | bits
        try await image.write([UInt64](repeating: entry, count: 512), at: image.refcountTable)
        try await image.disk.resize(to: 1 << 40)
      }
      #expect(result.checkErrors == 1, "\(result.messages)")
    }
  }

  @Test func anIncompleteDirectoryInAHoleIsNotReadToItsEnd() async throws {
    let reads = try await countedReads { image in
      let places = try await image.addBitmap()
      try await image.disk.resize(to: 1 << 60)
      try await image.write([UInt64(65535 * 1024)], at: places.header + 16)
      try await image.write(UInt32(65535), at: places.header + 8)
    }
    #expect(reads.count < 100, "\(reads.count) reads")
    #expect(reads.result.corruptions > 0)
    #expect(!reads.result.isComplete)
  }

  @Test(arguments: [36, 40, 48, 56, 60, 64, 72, 80, 88], [0, 1, 3, 7])
  func anyByteOfTheHeaderMayBeAnything(field: Int, byte: Int) async throws {
    for value: UInt8 in [1, 0x7f, 0x80, 0xff] {
      do {
        _ = try await check(limits: Self.small) { image in
          try await image.write(bytes: [value], at: field + byte)
        }
      } catch let error as BlockError {
        #expect(error.code != .io, "\(error)")  // refused with a reason
      }
    }
  }

  // MARK: - Errors

  @Test func whatCannotBeReadIsACheckErrorAndNeverClean() async throws {
    for part in 0..<5 {
      let result = try await countedReads(failing: part) { _ in }.result
      #expect(result.checkErrors > 0, "part \(part): \(result.messages)")
      #expect(!result.isComplete)
    }
  }

  /// Checks through a driver that counts reads, or fails those of one structure.
  private func countedReads(
    failing part: Int? = nil,
    after damage: @escaping @Sendable (DamagedImage) async throws -> Void
  ) async throws -> (result: ImageCheck, count: Int) {
    let world = World.simulated(seed: 1)
    return try await world.run { () async throws -> (ImageCheck, Int) in
      let image = try await DamagedImage.make(in: world)
      try await damage(image)
      let snapshot = part == 4 ? try await image.addSnapshot().table : 0
      let places = [image.l1, image.l2, image.refcountTable, image.refcountBlock, snapshot]
      let counter = CountingDriver(image.disk, failingAt: part.map { places[$0] })
      let graph = DamagedImage.makeGraph(in: world)
      let file = try graph.addNode(counter, name: "file")
      var options = OpenOptions(format: "qcow2", readOnly: true)
      options.isForCheck = true
      let node = try await graph.open(file: file, options)
      counter.isArmed.store(true, ordering: .relaxed)
      guard let driver = node.driver as? Qcow2Driver else { throw BlockError(.io, "no qcow2") }
      let result = try await driver.check(limits: Self.small)
      return (result, counter.reads.load(ordering: .relaxed))
    }
  }
}
