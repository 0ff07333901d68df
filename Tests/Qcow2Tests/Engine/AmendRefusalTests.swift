import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Qcow2
import Testing

/// What an amendment finds out before it changes anything, and what it keeps in memory.
@Suite struct AmendRefusalTests {
  private func withImage(
    _ change: (inout NewImageOptions) -> Void, hasDataFile: Bool = false,
    _ body: @escaping @Sendable (ImageFixture, BlockBackend) async throws -> Void
  ) async throws {
    let world = World.simulated(seed: 4)
    var options = NewImageOptions(virtualSize: 1 << 20)
    options.clusterSize = 4096
    change(&options)
    let made = options
    try await world.run { () async throws in
      let image = try await ImageFixture.create(made, in: world)
      let data =
        hasDataFile
        ? try image.graph.addNode(MemoryDriver(length: 1 << 20), name: "data") : nil
      try await body(image, try await image.open(dataFile: data))
    }
  }

  private func expectRefusal(
    _ text: String, _ image: ImageFixture, _ disk: BlockBackend,
    _ change: (inout AmendOptions) -> Void
  ) async throws {
    let header = try await image.bytes(at: 0, count: 4096)
    var options = AmendOptions()
    options.hasLazyRefcounts = true
    options.refcountBits = 8
    change(&options)
    let made = options
    let error = await #expect(throws: BlockError.self) { try await disk.node.amend(made) }
    #expect(error?.message.contains(text) == true, "\(error as Any)")
    #expect(try await image.bytes(at: 0, count: 4096) == header)
    try await image.close(disk)
  }

  @Test func aBitmapThatCannotFollowIsFoundFirst() async throws {
    try await withImage({ _ in }) { image, disk in
      try disk.node.addBitmap("b", granularity: 512, persistent: true)
      try await expectRefusal("Cannot keep bitmap 'b'", image, disk) { $0.virtualSize = 1 << 42 }
    }
  }

  @Test func aDataFileNameThatDoesNotFitIsFoundFirst() async throws {
    try await withImage({ $0.dataFileName = "data" }, hasDataFile: true) { image, disk in
      let name = EmbeddedName(bytes: [UInt8](repeating: 0x61, count: 1024))
      try await expectRefusal("name", image, disk) { $0.dataFileName = name }
    }
  }

  @Test func aSnapshotKeepsItsSizeWhenTheDiskGrowsAfterAnUpgrade() async throws {
    try await withImage({ $0.version = .v2 }) { image, disk in
      let store = try #require(disk.node.driver as? any SnapshotStore)
      _ = try await store.createSnapshot(named: "s", secondsSince1970: 1)
      try await image.close(disk)
      // As early versions wrote them: without extra data.
      let table = Int(try await image.words(at: 64, count: 1)[0])
      var entry = try await image.bytes(at: table, count: 72)
      let extra = Int(entry[39])
      entry[39] = 0
      let names = try await image.bytes(at: table + 40 + extra, count: 2)
      try await image.patch(Array(entry.prefix(40)) + names + [0, 0, 0, 0, 0, 0], at: table)
      let again = try await image.open()
      let old = try #require(again.node.driver as? any SnapshotStore)
      var options = AmendOptions()
      options.version = .v3
      try await again.node.amend(options)
      options.virtualSize = 4 << 20
      try await again.node.amend(options)
      #expect(try await old.snapshots().map(\.length) == [1 << 20])
      try await image.close(again)
    }
  }
}
