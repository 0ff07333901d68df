import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Qcow2
import Testing

/// Examples that are worked out by hand; docs/Testing.md has where the others are.
@Suite struct WorkedExampleTests {
  /// Opens an image made by hand, writes, closes, checks; the answer is what is read then.
  private static func use(_ bytes: [UInt8]) async throws -> [UInt8] {
    let world = World.simulated(seed: 1)
    return try await world.run { () async throws in
      let disk = SimulatedDisk(SparseImage(bytes), in: world, schedulingPoints: false)
      let graph = BlockGraph(world: world, registry: ImageFixture.registry)
      let file = try graph.addNode(disk, name: "file")
      let image = ImageFixture(world: world, graph: graph, file: file, disk: disk)
      let door = try await image.open()
      #expect(door.length == 1 << 20)
      try await door.fill(5, at: 65536, count: 65536)
      try await image.close(door)
      let check = try await image.check()
      #expect(check.isClean, "\(check.messages)")
      let reader = try await image.open(readOnly: true)
      return try await reader.read(at: 0, count: 196608)
    }
  }

  private static func isRight(_ bytes: [UInt8]) -> Bool {
    bytes[..<65536].allSatisfy { $0 == 0 } && bytes[65536..<131072].allSatisfy { $0 == 5 }
      && bytes[131072...].allSatisfy { $0 == 0 }
  }

  @Test func aMinimalVersion3ImageMadeByHandIsUsed() async throws {
    let bytes = image(
      0x30008,
      [
        0x00: "514649fb 00000003 00*8 00000000 00000010 00000000 00100000",
        0x20: "00000000 00000001 00000000 00030000 00000000 00010000 00000001",
        0x60: "00000004 00000070",
        0x10000: "00000000 00020000", 0x20000: "0001 0001 0001 0001",
      ])
    #expect(Self.isRight(try await Self.use(bytes)))
  }

  @Test func aMinimalVersion2ImageMadeByHandIsUsed() async throws {
    let bytes = image(
      0x30008,
      [
        0x00: "514649fb 00000002 00*8 00000000 00000010 00000000 00100000",
        0x20: "00000000 00000001 00000000 00030000 00000000 00010000 00000001",
        0x10000: "00000000 00020000", 0x20000: "0001 0001 0001 0001",
      ])
    #expect(Self.isRight(try await Self.use(bytes)))
  }

  /// The row of §26.4 with a snapshot: what is copied is what was there, and the disk shows it.
  @Test func aWriteAfterASnapshotCopiesTheSubclustersThatWereThere() async throws {
    let world = World.simulated(seed: 1)
    try await world.run { () async throws in
      var options = NewImageOptions(virtualSize: 2 << 20)
      options.hasExtendedL2 = true
      let image = try await ImageFixture.create(options, in: world)
      let below = try image.graph.addNode(
        SimulatedDisk(
          SparseImage([UInt8](repeating: 0x77, count: 2 << 20)), in: world,
          schedulingPoints: false), name: "below", options: NodeOptions(isReadOnly: true))
      let disk = try await image.open(backing: below)
      try await disk.fill(1, at: 0, count: 2048)
      try await disk.fill(2, at: 5120, count: 1024)
      try await disk.writeZeroes(ByteRange(offset: 8192, count: 4096))
      try await disk.fill(3, at: 8192, count: 2048)
      let before = try await disk.read(at: 0, count: 65536)
      try await image.graph.createSnapshot(named: "s", of: disk.node)
      try await disk.fill(4, at: 0, count: 1024)
      let after = try await disk.read(at: 0, count: 65536)
      #expect(after[..<1024].allSatisfy { $0 == 4 } && after[1024...] == before[1024...])
      try await image.close(disk)
      let table = try await image.words(at: 0x30000, count: 1)[0] & 0x00ff_ffff_ffff_fe00
      let entry = try await image.words(at: Int(table), count: 2)
      #expect(entry[0] >> 63 == 1 && entry[0] & 0x00ff_ffff_ffff_fe00 != 0x50000)
      let zero = entry[1] >> 32
      let allocated = entry[1] & 0xffff_ffff
      // Subclusters 0, 2 and 4 have data, 5 is zero; 1 and 3 may have been copied up.
      #expect(zero == 0x20 && allocated & 0x15 == 0x15 && allocated & ~0x1f == 0)
    }
  }

  /// §26.8: what a guest's flush costs.
  @Test func aFlushCostsThreeFlushesWithANewTableTwoWithAllocationsAndElseOne() async throws {
    let world = World.simulated(seed: 1)
    try await world.run { () async throws in
      let image = try await ImageFixture.create(NewImageOptions(virtualSize: 1 << 20), in: world)
      let disk = try await image.open()
      func flushes(after work: () async throws -> Void) async throws -> Int {
        try await disk.flush()
        let before = image.disk.count(of: [.sync])
        try await work()
        try await disk.flush()
        return image.disk.count(of: [.sync]) - before
      }
      #expect(try await flushes { try await disk.fill(1, at: 0, count: 65536) } == 3)
      #expect(try await flushes { try await disk.fill(2, at: 65536, count: 131072) } == 2)
      #expect(try await flushes { try await disk.fill(3, at: 4096, count: 512) } == 1)
      #expect(try await flushes {} == 0)
      try await image.close(disk)
    }
  }
}
