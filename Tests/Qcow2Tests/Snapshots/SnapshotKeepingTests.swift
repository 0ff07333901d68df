import BlockLayer
import BlockTestKit
import DirtyBitmap
import Execution
import Primitives
import Qcow2
import Testing

/// What changes of snapshots keep, and what they take along.
@Suite struct SnapshotKeepingTests {
  private func image(_ size: Int, in world: World) async throws -> SnapshotImage {
    var options = NewImageOptions(virtualSize: size)
    options.clusterSize = 512
    return try await SnapshotImage(
      try await SnapshotImage.create(options, in: world), in: world, forgets: false)
  }

  private func word(_ file: SparseImage, _ offset: Int) -> Int {
    Int(file.bytes(ByteRange(offset: offset, count: 8)).span.bytes.bigEndian(UInt64.self, at: 0))
  }

  @Test func bitmapsThatRecordHaveAllBitsSetAfterASnapshotIsApplied() async throws {
    let world = World.simulated(seed: 1)
    try await world.run { () async throws in
      let image = try await image(64 << 10, in: world)
      try await image.graph.createSnapshot(named: "x", of: image.node)
      try await image.door.resize(to: 128 << 10)
      try image.node.addBitmap("on", granularity: 512, persistent: true)
      try image.node.addBitmap("off", granularity: 512, persistent: true, disabled: true)
      try image.node.addBitmap("memory", granularity: 1024)
      try await image.graph.storeBitmaps(of: image.node)
      try await image.door.fill(1, at: 0, count: 512)
      // Snapshots that are made or removed change nothing of the disk.
      try await image.graph.createSnapshot(named: "y", of: image.node)
      try await image.graph.deleteSnapshot(.name("y"), of: image.node)
      #expect(try image.node.bitmaps.named("on").count == 512)
      // Nor does one that is not there.
      await #expect(throws: BlockError(.notFound, "")) {
        try await image.graph.applySnapshot(.name("none"), to: image.node)
      }
      #expect(try image.node.bitmaps.named("on").count == 512)
      try await image.graph.applySnapshot(.name("x"), to: image.node)
      // Killed now, they are not to be trusted.
      let killed = try await SnapshotImage(image.disk.visibleImage, in: world, readOnly: true)
      #expect(killed.node.bitmaps.all.map(\.isInconsistent) == [true, true])
      #expect(try image.node.bitmaps.named("memory").count == 64 << 10)
      try await image.close()
      let again = try await SnapshotImage(image.disk.visibleImage, in: world, readOnly: true)
      #expect(try again.node.bitmaps.named("on").count == 64 << 10)
      #expect(try again.node.bitmaps.named("off").count == 0)
      #expect(again.door.length == 64 << 10)
    }
  }

  @Test func extraDataThatIsNotKnownIsKept() async throws {
    let world = World.simulated(seed: 1)
    try await world.run { () async throws in
      let image = try await image(64 << 10, in: world)
      try await image.graph.createSnapshot(named: "x", of: image.node)
      try await image.close()
      var file = image.disk.visibleImage
      let table = word(file, 64)
      let bytes = file.bytes(ByteRange(offset: table, count: 80))
      guard var entry = try SnapshotTableEntry.parse(at: 0, in: bytes.span.bytes, index: 0)?.entry
      else { throw ImageStory.Problem(text: "no entry") }
      entry.unknownExtraData = [1, 2, 3, 4, 5, 6, 7, 8]
      entry.guestClockNanoseconds = 99
      file.write(entry.serialize(virtualSize: 0), at: table)
      let other = try await SnapshotImage(file, in: world, forgets: false)
      try await other.graph.createSnapshot(named: "y", of: other.node)
      let information = try await (other.node.driver as? Qcow2Driver)?.information()
      #expect(information?.snapshots.first == entry)
      #expect(information?.snapshots.count == 2)
      try await other.close()
    }
  }

  @Test func whatTheTablesHaveBeyondTheDiskIsDroppedAndNeverShown() async throws {
    let world = World.simulated(seed: 1)
    try await world.run { () async throws in
      for makesSnapshot in [true, false] {
        let image = try await image(96 << 10, in: world)
        try await image.door.fill(1, at: 0, count: 96 << 10)
        try await image.close()
        // Two of three L2 tables are beyond this end, as a machine's state is.
        var file = image.disk.visibleImage
        file.write(DamagedImage.bytes(UInt64(32 << 10)), at: 24)
        let cut = try await SnapshotImage(file, in: world, forgets: false)
        if makesSnapshot { try await cut.graph.createSnapshot(named: "x", of: cut.node) }
        try await cut.door.resize(to: 96 << 10)
        let grown = try await cut.contents
        #expect(
          grown == Array(repeating: 1, count: 32 << 10) + Array(repeating: 0, count: 64 << 10))
        try await cut.close()
        let story = try await ImageStory(of: cut.disk.visibleImage, in: world)
        #expect(story.leaks == 0 && story.disk == grown)
      }
    }
  }

  @Test func copiedFlagsInASnapshotsTablesMeanNothing() async throws {
    let world = World.simulated(seed: 1)
    try await world.run { () async throws in
      let image = try await image(64 << 10, in: world)
      try await image.door.fill(1, at: 0, count: 64 << 10)
      try await image.graph.createSnapshot(named: "x", of: image.node)
      try await image.door.fill(2, at: 0, count: 64 << 10)
      try await image.close()
      var file = image.disk.visibleImage
      // What qemu-img leaves there: all of them set.
      let l1 = word(file, word(file, 64))
      for table in [l1, l1 + 8].map({ word(file, $0) }) {
        for index in 0..<64 {
          let entry = UInt64(word(file, table + index * 8)) | DamagedImage.copied
          file.write(DamagedImage.bytes(entry), at: table + index * 8)
        }
      }
      file.write(DamagedImage.bytes(UInt64(word(file, l1)) | DamagedImage.copied), at: l1)
      let other = try await SnapshotImage(file, in: world, forgets: false)
      try await other.graph.applySnapshot(.name("x"), to: other.node)
      try await other.door.fill(3, at: 512, count: 5000)
      try await other.close()
      let story = try await ImageStory(of: other.disk.visibleImage, in: world)
      #expect(story.leaks == 0)
      let isKept = story.snapshots[0].contents.allSatisfy { $0 == 1 }
      #expect(isKept)
    }
  }

  @Test func aDeletedSnapshotsSpaceIsUsedAgain() async throws {
    let world = World.simulated(seed: 1)
    try await world.run { () async throws in
      let image = try await image(256 << 10, in: world)
      func round(_ value: UInt8) async throws {
        try await image.door.fill(value, at: 0, count: 256 << 10)
        try await image.graph.createSnapshot(named: "x", of: image.node)
        try await image.door.fill(value &+ 1, at: 0, count: 256 << 10)
        try await image.graph.deleteSnapshot(.name("x"), of: image.node)
        try await image.door.flush()
      }
      for value in 0..<3 { try await round(UInt8(value)) }
      let length = image.disk.length
      for value in 3..<12 { try await round(UInt8(value)) }
      #expect(image.disk.length <= length + 8192)
      // The host was told what is free.
      #expect(image.disk.count(of: [.discard]) > 0)
      try await image.close()
    }
  }

  @Test func aSnapshotWaitsForGuestsAndIsOneMoment() async throws {
    let world = World.simulated(seed: 7)
    try await world.run { () async throws in
      let disk = SimulatedDisk(in: world, forgets: false)
      let made = try await SnapshotImage(
        disk: disk, options: NewImageOptions(virtualSize: 1 << 20), in: world)
      await withTaskGroup(of: Void.self) { group in
        group.addTask {
          for value in 1..<40 {
            // The same byte in two places, one after the other.
            try? await made.door.fill(UInt8(value), at: 0, count: 512)
            try? await made.door.fill(UInt8(value), at: 900 << 10, count: 512)
          }
        }
        group.addTask {
          for index in 0..<5 {
            await world.yield()
            _ = try? await made.graph.createSnapshot(named: "\(index)", of: made.node)
          }
        }
      }
      #expect(try await made.graph.snapshots(of: made.node).count == 5)
      try await made.close()
      let story = try await ImageStory(of: disk.visibleImage, in: world)
      for snapshot in story.snapshots {
        let values = (snapshot.contents[0], snapshot.contents[900 << 10])
        #expect(values.0 == values.1 || values.0 == values.1 + 1, "snapshot \(snapshot.id)")
      }
    }
  }
}
