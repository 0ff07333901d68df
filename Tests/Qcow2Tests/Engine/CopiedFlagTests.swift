import BlockLayer
import Execution
import Primitives
import Qcow2
import Testing

/// Copied flags that are wrong: refcounts decide what is written in place.
@Suite struct CopiedFlagTests {
  @Test(arguments: [false, true])
  func aClusterWithTwoOwnersIsMovedByAWrite(hasExtendedL2: Bool) async throws {
    try await withTwoClusters(hasExtendedL2) { image, table in
      let entrySize = hasExtendedL2 ? 16 : 8
      // The second guest cluster names the first one's place, which is counted twice.
      let entry = try await image.bytes(at: table, count: entrySize)
      try await image.patch(entry, at: table + entrySize)
      let host = Int(try await image.words(at: table, count: 1)[0] & ~(1 << 63))
      try await image.patch([0, 2], at: 0x20000 + host / 65536 * 2)
      let door = try await image.open()
      try await door.write([UInt8](repeating: 9, count: 512), at: 512)
      let first = try await door.read(at: 0, count: 65536)
      let second = try await door.read(at: 65536, count: 65536)
      #expect(Set(first[..<512]) == [7] && Set(first[512..<1024]) == [9])
      #expect(Set(second) == [7], "a write through one owner changed what the other shows")
      try await image.close(door)
    }
  }

  @Test func reservedSpaceWithTwoOwnersIsNotUsed() async throws {
    try await withTwoClusters(false) { image, table in
      let host = try await image.words(at: table, count: 1)[0]
      try await image.patch(bigEndian(host | 1), at: table + 8)  // zeros, with that place
      let index = Int(host & ~(1 << 63)) / 65536
      try await image.patch([0, 2], at: 0x20000 + index * 2)
      let door = try await image.open()
      try await door.write([UInt8](repeating: 9, count: 512), at: 65536)
      #expect(try await door.read(at: 0, count: 65536) == [UInt8](repeating: 7, count: 65536))
      try await image.close(door)
    }
  }

  @Test func aClusterThatIsNotCountedIsNotWritten() async throws {
    try await withTwoClusters(false) { image, table in
      let host = Int(try await image.words(at: table, count: 1)[0] & ~(1 << 63))
      try await image.patch([0, 0], at: 0x20000 + host / 65536 * 2)
      let door = try await image.open()
      await #expect(throws: BlockError(.corrupt, "")) {
        try await door.write([UInt8](repeating: 9, count: 512), at: 0)
      }
      #expect(try await door.read(at: 0, count: 65536) == [UInt8](repeating: 7, count: 65536))
      await door.close()
    }
  }

  @Test func aTableThatIsNamedTwiceIsNotWritten() async throws {
    try await withTwoClusters(false) { image, _ in
      let entry = try await image.bytes(at: 0x30000, count: 8)
      try await image.patch(entry, at: 0x30008)
      let door = try await image.open()
      await #expect(throws: BlockError(.corrupt, "")) {
        try await door.write([UInt8](repeating: 9, count: 512), at: 2 * 65536)
      }
      await door.close()
    }
  }

  @Test func aTableThatIsOnlyCountedTooHighIsWritten() async throws {
    try await withTwoClusters(false) { image, table in
      try await image.patch([0, 2], at: 0x20000 + table / 65536 * 2)
      let door = try await image.open()
      try await door.write([UInt8](repeating: 9, count: 512), at: 2 * 65536)
      try await image.close(door)
      let again = try await image.open(readOnly: true)
      let check = try await #require(again.node.driver as? Qcow2Driver).check()
      #expect(check.corruptions == 0 && check.leaks == 1)
      try await image.close(again)
    }
  }

  /// An image whose first two clusters are written, and the place of its L2 table.
  private func withTwoClusters(
    _ hasExtendedL2: Bool, _ body: @escaping @Sendable (ImageFixture, Int) async throws -> Void
  ) async throws {
    let world = World.simulated(seed: 1)
    try await world.run { () async throws in
      var options = NewImageOptions(virtualSize: 1 << 30)
      options.hasExtendedL2 = hasExtendedL2
      let image = try await ImageFixture.create(options, in: world)
      let door = try await image.open()
      try await door.write([UInt8](repeating: 7, count: 131072), at: 0)
      try await image.close(door)
      let table = Int(try await image.words(at: 0x30000, count: 1)[0] & ~(1 << 63))
      try await body(image, table)
    }
  }

  private func bigEndian(_ value: UInt64) -> [UInt8] {
    (0..<8).map { UInt8(truncatingIfNeeded: value >> (56 - 8 * $0)) }
  }
}
