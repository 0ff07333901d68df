import BlockLayer
import Execution
import Primitives
import Qcow2
import Testing

/// L2 entries with bits that have no meaning: read as if these were clear, and never written by.
@Suite struct ReservedBitTests {
  @Test(arguments: [false, true])
  func whatTheyMapIsReadAndNotOverwritten(hasExtendedL2: Bool) async throws {
    let world = World.simulated(seed: 1)
    try await world.run { () async throws in
      var options = NewImageOptions(virtualSize: 1 << 20)
      options.hasExtendedL2 = hasExtendedL2
      let image = try await ImageFixture.create(options, in: world)
      let data = [UInt8](repeating: 7, count: 65536)
      var door = try await image.open()
      try await door.write(data, at: 0)
      try await image.close(door)
      let table = Int(try await image.words(at: 0x30000, count: 1)[0] & ~(1 << 63))
      let entry = try await image.bytes(at: table, count: 8)
      try await image.patch([entry[0] | 0x20], at: table)  // bit 61
      door = try await image.open()
      #expect(try await door.read(at: 0, count: 65536) == data)
      await #expect(throws: BlockError(.corrupt, "")) {
        try await door.write([UInt8](repeating: 8, count: 512), at: 0)
      }
      #expect(try await door.read(at: 0, count: 65536) == data)
      await door.close()
    }
  }
}
