import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Qcow2
import Testing

/// Single behaviours of the engine.
@Suite struct EngineTests {
  private func inWorld<T: Sendable>(
    _ body: sending @escaping (World) async throws -> T
  ) async throws -> T {
    let world = World.simulated(seed: 7)
    return try await world.run { try await body(world) }
  }

  private static func options(_ size: Int, cluster: Int = 65536) -> NewImageOptions {
    var options = NewImageOptions(virtualSize: size)
    options.clusterSize = cluster
    return options
  }

  @Test func zeroesLeaveTheEntriesThatQemuLeaves() async throws {
    // qemu-io: write 0 64k; write -z 0 64k; write -z 64k 64k; write 128k 64k; write -z -u 128k 64k
    let entries = try await inWorld { world in
      let image = try await ImageFixture.create(Self.options(1 << 20), in: world)
      let disk = try await image.open()
      try await disk.fill(1, at: 0, count: 65536)
      try await disk.writeZeroes(ByteRange(0, 65536))
      try await disk.writeZeroes(ByteRange(65536, 131072))
      try await disk.fill(1, at: 131072, count: 65536)
      try await disk.writeZeroes(ByteRange(131072, 196608), mayUnmap: true)
      try await image.close(disk)
      let table = try await image.words(at: 0x30000, count: 1)[0] & 0x00ff_ffff_ffff_fe00
      return try await image.words(at: Int(table), count: 3)
    }
    #expect(entries[0] & 0x8000_0000_0000_0001 == 0x8000_0000_0000_0001)
    #expect(entries[0] & 0x00ff_ffff_ffff_fe00 != 0, "the host cluster is kept")
    #expect(entries[1] == 1)
    #expect(entries[2] == 1)
  }

  @Test func openingAndReadingChangeNothing() async throws {
    let (before, after) = try await inWorld { world in
      let image = try await ImageFixture.create(Self.options(1 << 20), in: world)
      try await image.patch([0x80], at: 88)  // an autoclear bit that nobody knows
      let before = try await image.bytes(at: 0, count: image.file.length)
      let disk = try await image.open()
      _ = try await disk.read(at: 0, count: 4096)
      try await image.close(disk)
      return (before, try await image.bytes(at: 0, count: image.file.length))
    }
    #expect(before == after)
  }

  @Test func theFirstChangeClearsUnknownAutoclearBits() async throws {
    let word = try await inWorld { world in
      let image = try await ImageFixture.create(Self.options(1 << 20), in: world)
      try await image.patch([0x80], at: 88)
      let disk = try await image.open()
      try await disk.fill(1, at: 0, count: 512)
      try await image.close(disk)
      return try await image.words(at: 88, count: 1)[0]
    }
    #expect(word == 0)
  }

  @Test func growingHidesWhatTheLastClusterHeldAndLongerBackingFiles() async throws {
    let bytes = try await inWorld { world in
      let image = try await ImageFixture.create(Self.options(100 * 512), in: world)
      let base = MemoryDriver(length: 200 * 512)
      let backing = try image.graph.addNode(base, name: "base")
      let filler = [UInt8](repeating: 7, count: 200 * 512)
      try await backing.write(ByteRange(0, 200 * 512), from: filler.span.bytes)
      let disk = try await image.open(backing: backing)
      try await disk.fill(9, at: 0, count: 512)
      try await disk.resize(to: 300 * 512)
      let bytes = try await disk.read(at: 0, count: 300 * 512)
      try await image.close(disk)
      return bytes
    }
    #expect(bytes[..<512].allSatisfy { $0 == 9 })
    #expect(bytes[512..<100 * 512].allSatisfy { $0 == 7 })
    #expect(bytes[(100 * 512)...].allSatisfy { $0 == 0 })
  }

  @Test func aGrownL1TableIsInTheFileAfterwards() async throws {
    let (size, read) = try await inWorld { world in
      let image = try await ImageFixture.create(Self.options(32768, cluster: 512), in: world)
      let disk = try await image.open()
      try await disk.fill(3, at: 0, count: 32768)
      try await disk.resize(to: 8 << 20)  // from 1 L1 entry to 256: four clusters
      try await disk.fill(4, at: (8 << 20) - 512, count: 512)
      try await image.close(disk)
      let reader = try await image.open(readOnly: true)
      let read = try await reader.read(at: 0, count: reader.length)
      return (reader.length, read)
    }
    #expect(size == 8 << 20)
    #expect(read[..<32768].allSatisfy { $0 == 3 })
    #expect(read[32768..<(8 << 20) - 512].allSatisfy { $0 == 0 })
    #expect(read[((8 << 20) - 512)...].allSatisfy { $0 == 4 })
  }

  @Test func aBackingNodeShowsThroughAsFarAsItReaches() async throws {
    let bytes = try await inWorld { world in
      let image = try await ImageFixture.create(Self.options(8 * 4096, cluster: 4096), in: world)
      let backing = try image.graph.addNode(MemoryDriver(length: 5 * 4096 + 512), name: "base")
      let filler = [UInt8](repeating: 5, count: 5 * 4096 + 512)
      try await backing.write(ByteRange(0, filler.count), from: filler.span.bytes)
      let disk = try await image.open(backing: backing)
      try await disk.fill(6, at: 4096 + 100, count: 200)  // copies the cluster around it
      try await disk.discard(ByteRange(2 * 4096, 3 * 4096))
      let bytes = try await disk.read(at: 0, count: 8 * 4096)
      try await image.close(disk)
      return bytes
    }
    var expected = [UInt8](repeating: 5, count: 5 * 4096 + 512)
    expected += [UInt8](repeating: 0, count: 8 * 4096 - expected.count)
    for index in 4196..<4396 { expected[index] = 6 }
    for index in 8192..<12288 { expected[index] = 0 }
    #expect(bytes == expected)
  }

  @Test func dataIsNeverWrittenOverMetadata() async throws {
    try await inWorld { world in
      let image = try await ImageFixture.create(Self.options(1 << 20), in: world)
      let disk = try await image.open()
      try await disk.fill(1, at: 0, count: 512)
      try await image.close(disk)
      let table = Int(try await image.words(at: 0x30000, count: 1)[0] & 0x00ff_ffff_ffff_fe00)
      // The first guest cluster is mapped to the L1 table, which is written in place.
      try await image.patch([0x80, 0, 0, 0, 0, 3, 0, 0], at: table)
      let writer = try await image.open()
      await #expect(throws: BlockError(.corrupt, "")) {
        try await writer.fill(1, at: 0, count: 512)
      }
      await #expect(throws: BlockError.self, "no write after a corruption was found") {
        try await writer.fill(1, at: 65536, count: 512)
      }
      #expect(
        try await image.words(at: 0x30000, count: 1)[0] & 0x00ff_ffff_ffff_fe00 == UInt64(table))
    }
  }

  @Test func afterAFailedHeaderWriteNothingIsWritten() async throws {
    try await inWorld { world in
      let image = try await ImageFixture.create(Self.options(1 << 20), in: world)
      let writer = try await image.open()
      image.disk.faults = .failing([.write], nth: 1)
      let driver = try #require(writer.node.driver as? Qcow2Driver)
      await #expect(throws: BlockError(.io, "")) {
        try await driver.recordBacking(RecordedBacking(name: "b", format: "raw"))
      }
      await #expect(throws: BlockError.self, "the fault was once; the refusal is for good") {
        try await writer.fill(1, at: 0, count: 512)
      }
    }
  }
}
