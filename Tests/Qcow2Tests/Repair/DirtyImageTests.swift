import BlockLayer
import Execution
import Primitives
import Qcow2
import Testing

/// Images whose refcounts may be stale: repaired before a writer's first change, read as they are.
@Suite struct DirtyImageTests {
  private func inWorld<T: Sendable>(
    _ body: @escaping @Sendable (DamagedImage) async throws -> T
  ) async throws -> T {
    let world = World.simulated(seed: 2)
    return try await world.run { try await body(try await DamagedImage.make(in: world)) }
  }

  /// What a writer that counts lazily leaves when it dies: data is mapped, and not counted.
  private func die(_ image: DamagedImage) async throws {
    try await image.write([1], at: 72)
    for index in 4..<16 { try await image.setRefcount(0, ofOffset: image.data(index)) }
    try await image.setRefcount(0, ofOffset: image.l2)
  }

  @Test func aWriterRepairsADirtyImageBeforeItsFirstChange() async throws {
    try await inWorld { image in
      try await die(image)
      let before = try await image.guestBytes()
      let node = try await image.graph.open(file: image.file, OpenOptions(format: "qcow2"))
      #expect(try await image.word(at: 72) == 0)
      let door = try BlockBackend(node, in: image.graph)
      try await door.fill(9, at: 600_000, count: 100_000)
      await door.close()
      try await image.graph.close(node)
      #expect(try await image.check().isClean)
      let after = try await image.guestBytes()
      let isSame = Array(after[..<600_000]) == Array(before[..<600_000])
      #expect(isSame, "the new data is on clusters of its own")
    }
  }

  @Test func aReaderLeavesADirtyImageAsItIs() async throws {
    try await inWorld { image in
      try await die(image)
      let before = try await image.file.bytes(image.file.length)
      #expect(try await image.guestBytes().prefix(65536).allSatisfy { $0 == 1 })
      let isSame = try await image.file.bytes(image.file.length) == before
      #expect(isSame)
    }
  }

  @Test func aDirtyImageThatCannotBeRepairedIsNotOpenedForWriting() async throws {
    try await inWorld { image in
      try await die(image)
      try await image.setEntry(3, DamagedImage.copied | 0x5200)
      let error = await #expect(throws: BlockError.self) {
        _ = try await image.graph.open(file: image.file, OpenOptions(format: "qcow2"))
      }
      #expect(error?.code == .corrupt)
      #expect(error?.message.hasPrefix("Could not repair dirty image") == true)
      #expect(error?.message.contains("open it read-only") == true)
      #expect(try await image.word(at: 72) == 1, "the mark stays")
    }
  }

  @Test func openingLosesNoBitmaps() async throws {
    try await inWorld { image in
      let places = try await image.addBitmap()
      try await die(image)
      try await image.write(bytes: [UInt8(63)], at: places.directory + 17)
      let before = try await image.file.bytes(image.file.length)
      let error = await #expect(throws: BlockError.self) {
        _ = try await image.graph.open(file: image.file, OpenOptions(format: "qcow2"))
      }
      #expect(error?.code == .corrupt)
      #expect(error?.message.contains("its bitmaps would be lost") == true, "\(error as Any)")
      #expect(error?.message.contains("check -r all") == true)
      let isSame = try await image.file.bytes(image.file.length) == before
      #expect(isSame)
      _ = try await image.repair(.all)
      let node = try await image.graph.open(file: image.file, OpenOptions(format: "qcow2"))
      try await image.graph.close(node)
    }
  }

  @Test func anImageMarkedCorruptIsRefusedUntilItIsRepaired() async throws {
    try await inWorld { image in
      try await image.write([2], at: 72)
      let error = await #expect(throws: BlockError.self) {
        _ = try await image.graph.open(file: image.file, OpenOptions(format: "qcow2"))
      }
      #expect(error?.message.contains("Image is corrupt; cannot be opened read/write") == true)
      _ = try await image.guestBytes()
      _ = try await image.repair(.all)
      let node = try await image.graph.open(file: image.file, OpenOptions(format: "qcow2"))
      try await image.graph.close(node)
    }
  }
}
