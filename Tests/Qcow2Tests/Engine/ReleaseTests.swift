import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Qcow2
import Testing

/// Giving up clusters: what goes wrong with it costs space, and never what is written later.
@Suite struct ReleaseTests {
  private static let cluster = 65536

  /// Runs `body` on an image of 64 clusters, of which the first four are written and durable, that
  /// has just been opened.
  private func withImage(
    _ damage: @escaping @Sendable (ImageFixture) async throws -> Void = { _ in },
    _ body: @escaping @Sendable (ImageFixture, BlockBackend) async throws -> Void
  ) async throws {
    let world = World.simulated(seed: 5)
    try await world.run { () async throws in
      let options = NewImageOptions(virtualSize: 64 * Self.cluster)
      let image = try await ImageFixture.create(options, in: world, discard: .unmap)
      let writer = try await image.open()
      try await writer.fill(1, at: 0, count: 4 * Self.cluster)
      try await image.close(writer)
      try await damage(image)
      let disk = try await image.open()
      try await body(image, disk)
    }
  }

  /// The entries of the first clusters as they are in the file.
  private static func entries(_ image: ImageFixture, _ count: Int) async throws -> [UInt64] {
    let table = try await image.words(at: 0x30000, count: 1)[0] & 0x00ff_ffff_ffff_fe00
    return try await image.words(at: Int(table), count: count)
  }

  @Test func aDiscardThatTheHostFailsCostsNothing() async throws {
    try await withImage { image, disk in
      image.disk.faults = .failing([.discard], nth: 1, times: .max)
      try await disk.discard(ByteRange(0, 2 * Self.cluster))
      try await disk.flush()
      #expect(image.disk.faultCount > 0, "the host was asked")
      try await disk.fill(2, at: 8 * Self.cluster, count: Self.cluster)
      try await disk.flush()
      #expect(try await Self.entries(image, 9)[8] != 0, "what was flushed is mapped")
      let driver = try #require(disk.node.driver as? Qcow2Driver)
      #expect(try await driver.check().isClean, "the clusters are free all the same")
      try await image.close(disk)
    }
  }

  @Test func aRefcountThatIsTooLowStopsNoLaterWrite() async throws {
    try await withImage { image in
      // The second of the four clusters is said to be free.
      let host = try await Self.entries(image, 2)[1] & 0x00ff_ffff_ffff_fe00
      try await image.patch([0, 0], at: 0x20000 + Int(host) / Self.cluster * 2)
    } _: { image, disk in
      try await disk.discard(ByteRange(0, 4 * Self.cluster))
      try await disk.flush()
      for index in 8..<12 {
        try await disk.fill(2, at: index * Self.cluster, count: Self.cluster)
        try await disk.flush()
      }
      #expect(try await Self.entries(image, 12)[8...].allSatisfy { $0 != 0 })
      let driver = try #require(disk.node.driver as? Qcow2Driver)
      #expect(try await driver.check().isClean, "the other three were given up")
      try await image.close(disk)
    }
  }

  private static let unreadableRefcounts = FaultPlan([
    .init([.read], in: ByteRange(offset: 0x20000, count: cluster), times: .max)
  ])

  @Test func aRefcountBlockThatCannotBeReadStopsNoFlush() async throws {
    try await withImage { image, disk in
      image.disk.faults = Self.unreadableRefcounts
      // Zeroes without a cluster take none, and so need no refcount.
      for index in 0..<3 {
        try await disk.discard(ByteRange(offset: index * Self.cluster, count: Self.cluster))
        try await disk.writeZeroes(ByteRange(offset: (8 + index) * Self.cluster, count: 65536))
        try await disk.flush()
        #expect(image.disk.pending.isEmpty, "flushed")
        let entries = try await Self.entries(image, 11)
        #expect(entries[8 + index] == 1 && entries[index] & ~1 == 0, "in the file")
      }
      #expect(image.disk.faultCount > 0)
      image.disk.faults = .none
      try await disk.writeZeroes(ByteRange(offset: 12 * Self.cluster, count: Self.cluster))
      try await disk.flush()
      let driver = try #require(disk.node.driver as? Qcow2Driver)
      #expect(try await driver.check().isClean, "nothing was forgotten")
      try await image.close(disk)
    }
  }

  @Test func closingTellsThatSpaceCouldNotBeGivenUp() async throws {
    try await withImage { image, disk in
      image.disk.faults = Self.unreadableRefcounts
      try await disk.discard(ByteRange(0, Self.cluster))
      let error = await #expect(throws: BlockError(.io, "")) { try await image.close(disk) }
      #expect(error?.message.contains("could not be given up") == true)
      image.disk.faults = .none
      let reader = try await image.open(readOnly: true)
      let driver = try #require(reader.node.driver as? Qcow2Driver)
      let check = try await driver.check()
      #expect(check.corruptions == 0 && check.leaks == 1)
    }
  }
}
