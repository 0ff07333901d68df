import BlockLayer
import BlockTestKit
import DirtyBitmap
import Execution
import Primitives
import Qcow2
import Testing

/// Persistent bitmaps that are stored while the image is in use, or read from images that lie.
@Suite struct StoredBitmapTests {
  private func inWorld(_ body: @escaping @Sendable (World) async throws -> Void) async throws {
    let world = World.simulated(seed: 11)
    try await world.run { try await body(world) }
  }

  /// An image of 1 MiB with clusters of 4 KiB, open, with persistent bitmaps of these names.
  private func image(
    _ world: World, bitmaps: [String]
  ) async throws -> (image: ImageFixture, disk: BlockBackend) {
    var options = NewImageOptions(virtualSize: 1 << 20)
    options.clusterSize = 4096
    let image = try await ImageFixture.create(options, in: world)
    let disk = try await image.open()
    for name in bitmaps {
      try disk.node.addBitmap(name, granularity: 4096, persistent: true)
    }
    return (image, disk)
  }

  /// What another program would find in the image now.
  private func stored(_ image: ImageFixture) async throws -> [DirtyBitmap] {
    let copy = try await ImageFixture.opened(image.disk.visibleImage, in: image.world)
    return copy.node.bitmaps.all
  }

  @Test func aBitmapThatAJobWorksFromIsStoredWithWhatWasWrittenSince() async throws {
    try await inWorld { world in
      let (image, disk) = try await image(world, bitmaps: ["b"])
      try await disk.fill(1, at: 0, count: 4096)
      let bitmap = try disk.node.bitmaps.named("b")
      try bitmap.freeze()
      try await disk.fill(2, at: 8192, count: 4096)
      try await image.graph.storeBitmaps(of: disk.node)
      let found = try await stored(image)
      #expect(found.map(\.runs) == [[ByteRange(0, 4096), ByteRange(8192, 12288)]])
      // The next write claims it again: killed after it, the bitmap is in use.
      try await disk.fill(3, at: 65536, count: 512)
      #expect(try await stored(image).map(\.isInconsistent) == [true])
      bitmap.reclaim()
      try await image.close(disk)
      #expect(try await stored(image)[0].runs.count == 3)
    }
  }

  @Test func whateverFailsInAStoreTheNextWriteClaims() async throws {
    try await inWorld { world in
      var nth = 0
      while true {
        nth += 1
        let (image, disk) = try await image(world, bitmaps: ["b"])
        try await disk.fill(1, at: 0, count: 4096)
        try await image.graph.storeBitmaps(of: disk.node)
        try await disk.fill(1, at: 65536, count: 4096)
        // Giving back the old bits, when the new ones are in place, reads their table.
        image.disk.faults = .failing([.read], nth: nth)
        try? await image.graph.storeBitmaps(of: disk.node)
        guard image.disk.faultCount > 0 else { break }
        image.disk.faults = .none
        try await disk.fill(1, at: 131072, count: 4096)
        #expect(try await stored(image).map(\.isInconsistent) == [true], "read \(nth)")
      }
      #expect(nth > 2, "no read failed")
    }
  }

  /// Killed at any moment, the image has the old bits under their old name, or under the new one.
  @Test(arguments: [true, false]) func bitsThatWereMergedOutliveTheirSource(
    isNew: Bool
  ) async throws {
    try await inWorld { world in
      let (image, first) = try await image(world, bitmaps: isNew ? ["b"] : ["b", "c"])
      try await first.fill(1, at: 0, count: 4096)
      if !isNew { try first.node.bitmaps.named("c").clear() }
      try await image.close(first)
      let disk = try await image.open()
      if isNew { try disk.node.addBitmap("c", granularity: 4096, persistent: true) }
      try disk.node.bitmaps.named("c").merge(disk.node.bitmaps.named("b"))
      let points = CrashPointList()
      image.disk.observe { [disk = image.disk] _, phase in
        if phase == .completing { points.add(disk.crashPoint()) }
      }
      try await disk.node.removeBitmap("b")
      image.disk.observe(nil)
      let range = ByteRange(0, 4096)
      for (number, point) in points.all.enumerated() {
        for state in point.states(.brief(maximum: 8), seed: UInt64(number)) {
          let copy = try await ImageFixture.opened(state.image, in: world)
          #expect(copy.node.bitmaps.all.contains { $0.runs == [range] }, "\(state)")
        }
      }
      #expect(points.all.count > 1)
      let found = try await ImageFixture.opened(image.disk.durableImage, in: world)
      #expect(found.node.bitmaps.all.map(\.name) == ["c"])
      #expect(found.node.bitmaps.all.map(\.runs) == [[range]])
      // The next write claims it.
      try await disk.fill(3, at: 65536, count: 512)
      #expect(try await stored(image).map(\.isInconsistent) == [true])
    }
  }

  /// What was cleared or disabled is so on disk by a store alone: a kill before leaves too many
  /// bits, not too few.
  @Test func aRemovalTakesNoBitsFromOthers() async throws {
    try await inWorld { world in
      let (image, first) = try await image(world, bitmaps: ["b", "c"])
      try await first.fill(1, at: 0, count: 4096)
      try first.node.bitmaps.named("b").clear()
      try await first.fill(1, at: 512 << 10, count: 4096)
      try await image.close(first)
      let disk = try await image.open()
      let kept = try disk.node.bitmaps.named("c")
      try kept.clear()
      try kept.merge(disk.node.bitmaps.named("b"))
      try kept.disable()
      let now = kept.runs
      try await disk.node.removeBitmap("b")
      let old = ByteRange(0, 4096)
      #expect(try await stored(image).map(\.runs) == [[old] + now])
      #expect(try await stored(image).map(\.isEnabled) == [true])
      try await image.close(disk)
      #expect(try await stored(image).map(\.runs) == [now])
      #expect(try await stored(image).map(\.isEnabled) == [false])
    }
  }

  /// A kill after the removal leaves the others as they were stored, bit for bit.
  @Test func aRemovalLeavesOthersAlone() async throws {
    try await inWorld { world in
      let (image, first) = try await image(world, bitmaps: ["b", "c"])
      try await first.fill(1, at: 0, count: 4096)
      try await image.close(first)
      let old = try #require(try await directory(image)).entries
      let disk = try await image.open()
      try await disk.node.removeBitmap("b")
      let new = try #require(try await directory(image)).entries
      #expect(new == old.filter { $0.name.bytes == Array("c".utf8) })
      // What a writer has in use stays so.
      try disk.node.addBitmap("d", granularity: 4096, persistent: true)
      try await image.graph.storeBitmaps(of: disk.node)
      try await disk.fill(1, at: 65536, count: 4096)
      try await disk.node.removeBitmap("d")
      #expect(try await stored(image).map(\.isInconsistent) == [true])
      try await image.close(disk)
      #expect(try await stored(image).map(\.runs.count) == [2])
    }
  }

  @Test func aClusterOfBitsBelongsToOneBitmap() async throws {
    try await inWorld { world in
      let (image, disk) = try await image(world, bitmaps: ["a", "b"])
      try await disk.fill(1, at: 0, count: 4096)
      try await image.close(disk)
      let directory = try #require(try await directory(image))
      let tables = directory.entries.map(\.tableOffset.value)
      let first = try await image.bytes(at: tables[0], count: 8)
      try await image.patch(first, at: tables[1])  // the second names the bits of the first
      let found = try await stored(image)
      #expect(found.map(\.isInconsistent).sorted { !$0 && $1 } == [false, true])
    }
  }

  @Test func aDiskDoesNotOutgrowItsStoredBitmaps() async throws {
    try await inWorld { world in
      let image = try await ImageFixture.create(NewImageOptions(virtualSize: 1 << 40), in: world)
      let disk = try await image.open()
      try disk.node.addBitmap("fine", granularity: 512, persistent: true)
      let error = await #expect(throws: BlockError.self) { try await disk.resize(to: 3 << 40) }
      #expect(error?.message.contains("bitmap 'fine'") == true, "\(String(describing: error))")
      #expect(disk.length == 1 << 40)
      try await disk.resize(to: 2 << 40)
      try await image.close(disk)
      #expect(try await stored(image).map(\.size) == [2 << 40])
    }
  }

  @Test func aBitmapThatCannotBeReadHidesFromReadersAndStopsWriters() async throws {
    try await inWorld { world in
      let (image, disk) = try await image(world, bitmaps: ["b"])
      try await disk.fill(1, at: 0, count: 4096)
      try await image.close(disk)
      let entry = try #require(try await directory(image)?.entries.first)
      let table = try #require(entry.tableRange)
      let failing = FaultPlan([.init([.read], in: table, times: .max)])
      let reader = try await ImageFixture.opened(
        image.disk.visibleImage, in: world, faults: failing)
      #expect(reader.node.bitmaps.all.isEmpty)
      #expect(try await reader.read(at: 0, count: 1) == [1])
      image.disk.faults = failing
      await #expect(throws: BlockError.self) { _ = try await image.open() }
    }
  }

  private func directory(
    _ image: ImageFixture
  ) async throws -> (offset: Int, entries: [BitmapDirectoryEntry])? {
    let head = try await image.bytes(at: 0, count: 4096)
    let header = try HeaderCluster.parse(head.span.bytes, for: .readOnly)
    guard let place = header.extensions.bitmaps, let range = place.directoryRange else {
      return nil
    }
    let bytes = try await image.bytes(at: range.lower, count: range.count)
    let entries = try BitmapDirectory.parse(
      bytes.span.bytes, bitmapCount: place.bitmapCount, geometry: header.header.geometry,
      virtualSize: 1 << 20)
    return (range.lower, entries)
  }
}
