import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Qcow2
import Testing

/// New refcount structures in images whose refcounts are not to be trusted.
@Suite struct DamagedRefcountTests {
  @Test func aNewRefcountBlockIsNeverPutOnMetadata() async throws {
    let world = World.simulated(seed: 8)
    try await world.run { () async throws in
      let image = try await ImageFixture.create(NewImageOptions(virtualSize: 1 << 20), in: world)
      let writer = try await image.open()
      try await writer.fill(1, at: 0, count: 65536)
      try await image.close(writer)
      // Entry 0 of the refcount table: header, tables and data seem to be free.
      try await image.patch([UInt8](repeating: 0, count: 8), at: 0x10000)
      let before = image.disk.visibleImage
      let disk = try await image.open()
      await #expect(throws: BlockError(.corrupt, "")) {
        try await disk.fill(2, at: 65536, count: 512)
      }
      await #expect(throws: BlockError(.corrupt, ""), "nor is anything else written then") {
        try await disk.fill(3, at: 0, count: 512)
      }
      var after = image.disk.visibleImage
      #expect(after.bytes(ByteRange(79, 80)) == [2], "it is marked as corrupt")
      after.write([0], at: 79)
      let isSame = after == before
      #expect(isSame)
    }
  }

  @Test func aRefcountTableThatGrowsIsNeverPutOnMetadata() async throws {
    let world = World.simulated(seed: 9)
    try await world.run { () async throws in
      // 64 refcounts a block, 64 entries in the refcount table: it counts 2 MiB of the file.
      var options = NewImageOptions(virtualSize: 3 << 20)
      options.clusterSize = 512
      options.refcountBits = 64
      let image = try await ImageFixture.create(options, in: world)
      let writer = try await image.open()
      try await writer.fill(1, at: 0, count: 1 << 20)
      try await image.close(writer)
      // The L1 table moves to where the refcounts end: to where the refcount table would grow.
      let l1 = Int(try await image.words(at: 40, count: 1)[0])
      let entries = try await image.bytes(at: l1, count: 1024)
      try await image.patch(entries, at: (2 << 20) + 512)
      try await image.patch([0, 0, 0, 0, 0, 0x20, 2, 0], at: 40)
      let disk = try await image.open()
      let error = await #expect(throws: BlockError.self) {
        try await disk.fill(2, at: 1 << 20, count: 2 << 20)
      }
      #expect(error?.code == .corrupt)
      await #expect(throws: BlockError(.corrupt, "")) {
        try await disk.fill(3, at: 0, count: 512)
      }
      #expect(try await image.bytes(at: (2 << 20) + 512, count: 64) == Array(entries[..<64]))
    }
  }
}
