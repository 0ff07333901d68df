import BlockLayer
import Execution
import Primitives
import Qcow2
import Testing

/// Repairs of the snapshot table and the bitmap directory; extended L2 entries.
@Suite struct RepairStructureTests {
  private func snapshotTable(_ image: DamagedImage, _ count: Int) async throws -> [UInt8] {
    let place = Int(try await image.word(at: 64))
    var bytes: [UInt8] = []
    for index in 0..<count / 8 {
      bytes += DamagedImage.bytes(try await image.word(at: place + index * 8))
    }
    return bytes
  }

  @Test func aSnapshotWithoutItsDiskSizeGetsOne() async throws {
    let repaired = try await repair { image in
      let places = try await image.addSnapshot()
      try await image.write(UInt32(0), at: places.table + 36)
      try await image.write(bytes: Array("1a".utf8), at: places.table + 40)
    }
    #expect(repaired.isSound, "\(repaired.messages) \(repaired.result.remaining)")
    #expect(repaired.result.corruptionsFixed == 1)
    #expect(repaired.keepsData)
  }

  @Test func tooMuchExtraDataOfASnapshotIsCut() async throws {
    let world = World.simulated(seed: 1)
    try await world.run { () async throws in
      let image = try await DamagedImage.make(in: world)
      let places = try await image.addSnapshot()
      try await image.write(UInt32(1280), at: places.table + 36)
      try await image.write(bytes: Array("1a".utf8), at: places.table + 40 + 1280)
      let result = try await image.repair(.all)
      #expect(result.remaining.isClean, "\(result.findings) \(result.remaining)")
      let table = try await snapshotTable(image, 1072)
      #expect(Array(table[36..<40]) == DamagedImage.bytes(UInt32(1024)))
      #expect(Array(table[(40 + 1024)...].prefix(2)) == Array("1a".utf8))
    }
  }

  @Test func snapshotsBeyondTheLimitGoAndTheOthersStay() async throws {
    let world = World.simulated(seed: 1)
    try await world.run { () async throws in
      let image = try await DamagedImage.make(in: world)
      let places = try await image.addSnapshot()
      // The second entry reaches beyond 64 MiB.
      try await image.write(UInt32(2), at: 60)
      try await image.write(UInt32(65 << 20), at: places.table + 64 + 36)
      let before = try await image.guestBytes()
      let result = try await image.repair(.all)
      #expect(result.remaining.isClean, "\(result.findings) \(result.remaining)")
      #expect(result.findings.contains { $0.message == "Discarding 1 overhanging snapshots" })
      #expect(try await image.word(at: 56) & 0xffff_ffff == 1)
      let isSame = try await image.guestBytes() == before
      #expect(isSame)
    }
  }

  @Test func aBitmapDirectoryThatCannotBeReadGoes() async throws {
    for damage: @Sendable (DamagedImage) async throws -> Void in [
      { image in
        let places = try await image.addBitmap()
        try await image.write(bytes: [UInt8(63)], at: places.directory + 17)
      },
      { image in
        let places = try await image.addBitmap()
        try await image.write(UInt32(0), at: places.header + 8)
      },
    ] {
      let repaired = try await repair(after: damage)
      #expect(repaired.isSound, "\(repaired.messages) \(repaired.result.remaining)")
      #expect(repaired.result.corruptionsFixed == 1)
      #expect(repaired.keepsData)
      let leaks = try await repair(.leaks, after: damage)
      #expect(leaks.result.remaining.corruptions == 1, "leaks alone leave it")
    }
  }

  // MARK: - Extended L2 entries

  /// An image of 16 KiB clusters with subclusters: a cluster with data in two of them, a plain one.
  private func extended(
    _ damage: @escaping @Sendable (DamagedImage) async throws -> Void, _ mode: ImageRepair? = nil
  ) async throws -> ImageRepairResult {
    let world = World.simulated(seed: 1)
    return try await world.run { () async throws -> ImageRepairResult in
      let image = try await DamagedImage.extended(in: world)
      try await damage(image)
      if let mode { return try await image.repair(mode) }
      var result = ImageRepairResult()
      result.remaining = try await image.check()
      return result
    }
  }

  @Test func subclustersAreChecked() async throws {
    let sound = try await extended { _ in }
    #expect(sound.remaining.isClean, "\(sound.remaining)")
    #expect(sound.remaining.allocatedClusters == 1)
    #expect(sound.remaining.totalClusters == 64)
    let cases: [(at: Int, words: [UInt64], message: String)] = [
      (
        0, [DamagedImage.copied | 0x14000, 0x1_0000_0001],
        "ERROR offset=14000: Allocated cluster has corrupted subcluster allocation bitmap"
      ),
      (
        16, [0, 1], "ERROR: Unallocated cluster has non-zero subcluster allocation map"
      ),
      (
        32, [DamagedImage.compressed | 0x14000, 1],
        "ERROR compressed cluster 2 with non-zero subcluster allocation bitmap, "
          + "entry=0x4000000000014000"
      ),
    ]
    for one in cases {
      let result = try await extended { image in
        try await image.write(one.words, at: image.l2 + one.at)
      }
      #expect(result.remaining.messages.contains(one.message), "\(result.remaining.messages)")
      #expect(result.remaining.corruptions > 0)
    }
    // Bit 0 of the first word has no meaning here.
    let flag = try await extended { image in
      try await image.write([DamagedImage.copied | 0x14001, 1], at: image.l2)
    }
    #expect(flag.remaining.isClean, "\(flag.remaining)")
  }

  @Test func aReservedClusterThatIsNoneIsGivenUpAndTheZerosStay() async throws {
    let result = try await extended(
      { image in
        try await image.write([DamagedImage.copied | 0x14200, 5 << 32], at: image.l2)
      }, .all)
    #expect(result.remaining.isClean, "\(result.findings) \(result.remaining)")
    #expect(result.corruptionsFixed == 1)
    #expect(result.leaksFixed == 1)
  }

  @Test func copiedFlagsOfExtendedEntriesAreRepaired() async throws {
    let result = try await extended(
      { image in try await image.write([0x14000, 1], at: image.l2) }, .all)
    #expect(result.remaining.isClean, "\(result.findings) \(result.remaining)")
    #expect(result.corruptionsFixed == 1)
  }
}

extension DamagedImage {
  /// An image of 16 KiB clusters with extended L2 entries, 1 MiB, whose first cluster has data in
  /// its first subcluster; made by hand.
  static func extended(in world: World) async throws -> DamagedImage {
    let size = 16384
    let disk = MemoryDriver(length: 0, growsOnWrite: true)
    let graph = makeGraph(in: world)
    let file = try graph.addNode(disk, name: "file")
    let image = DamagedImage(
      graph: graph, file: file, disk: disk, l1: 3 * size, l2: 4 * size, refcountTable: size,
      refcountBlock: 2 * size, refcountBits: 16)
    try await image.write(bytes: [UInt8](repeating: 0, count: 6 * size), at: 0)
    var header = bytes(UInt32(0x5146_49fb)) + bytes(UInt32(3)) + bytes(UInt64(0))
    header += bytes(UInt32(0)) + bytes(UInt32(14)) + bytes(UInt64(1 << 20)) + bytes(UInt32(0))
    header += bytes(UInt32(1)) + bytes(UInt64(image.l1)) + bytes(UInt64(size)) + bytes(UInt32(1))
    header += bytes(UInt32(0)) + bytes(UInt64(0)) + bytes(UInt64(16)) + bytes(UInt64(0))
    header += bytes(UInt64(0)) + bytes(UInt32(4)) + bytes(UInt32(112)) + bytes(UInt64(0))
    try await image.write(bytes: header, at: 0)
    try await image.write([UInt64(2 * size)], at: size)
    try await image.write(
      bytes: (0..<6).flatMap { _ in bytes(UInt16(1)) }, at: image.refcountBlock)
    try await image.write([copied | UInt64(image.l2)], at: image.l1)
    try await image.write([copied | UInt64(5 * size), 1], at: image.l2)
    return image
  }
}
