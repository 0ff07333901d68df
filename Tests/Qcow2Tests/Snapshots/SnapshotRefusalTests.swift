import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Qcow2
import Testing

/// What cannot be done with snapshots, and what damaged ones do: nothing changes then.
@Suite struct SnapshotRefusalTests {
  private func image(
    size: Int = 256 << 10, clusterSize: Int = 512, refcountBits: Int = 16,
    version: FormatVersion = .v3, in world: World
  ) async throws -> SnapshotImage {
    var options = NewImageOptions(virtualSize: size)
    options.clusterSize = clusterSize
    options.refcountBits = refcountBits
    options.version = version
    return try await SnapshotImage(
      try await SnapshotImage.create(options, in: world), in: world, forgets: false)
  }

  private func error(_ body: () async throws(BlockError) -> Void) async -> BlockError? {
    do {
      try await body()
      return nil
    } catch { return error }
  }

  /// The file with `bytes` at `offset`.
  private func patched(_ file: SparseImage, _ bytes: [UInt8], at offset: Int) -> SparseImage {
    var file = file
    file.write(bytes, at: offset)
    return file
  }

  private func word(_ file: SparseImage, _ offset: Int) -> Int {
    Int(file.bytes(ByteRange(offset: offset, count: 8)).span.bytes.bigEndian(UInt64.self, at: 0))
  }

  @Test(arguments: [1, 2])
  func aSnapshotThatTheRefcountsCannotCountLeavesNothing(refcountBits: Int) async throws {
    let world = World.simulated(seed: 1)
    try await world.run { () async throws in
      let image = try await image(refcountBits: refcountBits, in: world)
      let most = refcountBits == 1 ? 0 : 2
      try await image.door.fill(7, at: 1000, count: 90_000)
      for index in 0..<most {
        try await image.graph.createSnapshot(named: "\(index)", of: image.node)
      }
      try await image.door.flush()
      let before = try await ImageStory(of: image.disk.visibleImage, in: world)
      let refusal = await error { () async throws(BlockError) in
        try await image.graph.createSnapshot(named: "x", of: image.node)
      }
      #expect(refusal == BlockError(.invalidArgument, ""))
      #expect(refusal?.message.contains("refcounts of \(refcountBits) bits") == true)
      // What is still shared with nobody is still written in place.
      try await image.door.fill(7, at: 1000, count: 90_000)
      try await image.close()
      let after = try await ImageStory(of: image.disk.visibleImage, in: world)
      #expect(after == before && after.leaks == 0 && before.leaks == 0)
      #expect(after.snapshots.count == most)
    }
  }

  @Test func anEmptyDiskHasSnapshotsWithTheNarrowestRefcounts() async throws {
    let world = World.simulated(seed: 1)
    try await world.run { () async throws in
      for size in [0, 64 << 10] {
        let image = try await image(size: size, refcountBits: 1, in: world)
        try await image.graph.createSnapshot(named: "x", of: image.node)
        try await image.graph.applySnapshot(.name("x"), to: image.node)
        try await image.graph.createSnapshot(named: "y", of: image.node)
        try await image.graph.deleteSnapshot(.name("x"), of: image.node)
        try await image.close()
        let story = try await ImageStory(of: image.disk.visibleImage, in: world)
        #expect(story.snapshots.map(\.id) == ["2"] && story.leaks == 0)
      }
    }
  }

  @Test func anIDIsOneMoreThanTheHighestAndAnIDGoesBeforeAName() async throws {
    let world = World.simulated(seed: 1)
    try await world.run { () async throws in
      let image = try await image(in: world)
      let graph = image.graph
      for (index, name) in ["2", "x", "x", ""].enumerated() {
        try await image.door.fill(UInt8(index + 1), at: 0, count: 512)
        let made = try await graph.createSnapshot(named: name, of: image.node)
        #expect(made.id == "\(index + 1)" && made.name == name)
      }
      try await graph.applySnapshot(.idOrName("2"), to: image.node)
      #expect(try await image.door.read(at: 0, count: 1) == [2])
      try await graph.applySnapshot(.name("2"), to: image.node)
      #expect(try await image.door.read(at: 0, count: 1) == [1])
      try await graph.deleteSnapshot(.name("x"), of: image.node)
      #expect(try await graph.snapshots(of: image.node).map(\.id) == ["1", "3", "4"])
      for reference in [SnapshotReference.id("x"), .name("1"), .idOrName("é")] {
        let refusal = await error { () async throws(BlockError) in
          try await graph.deleteSnapshot(reference, of: image.node)
        }
        #expect(refusal?.code == .notFound)
      }
      let long = String(repeating: "n", count: 256)
      let refusal = await error { () async throws(BlockError) in
        try await graph.createSnapshot(named: long, of: image.node)
      }
      #expect(refusal?.code == .invalidArgument)
      try await image.close()
    }
  }

  @Test func anImageIsOpenedAtASnapshotForReadingAlone() async throws {
    let world = World.simulated(seed: 1)
    try await world.run { () async throws in
      let image = try await image(in: world)
      try await image.graph.createSnapshot(named: "x", of: image.node)
      try await image.door.resize(to: 1 << 20)
      try await image.close()
      let file = image.disk.visibleImage
      let then = try await SnapshotImage(file, in: world, readOnly: true, at: .idOrName("x"))
      #expect(then.door.length == 256 << 10)
      await #expect(throws: BlockError(.readOnly, "")) {
        _ = try await SnapshotImage(file, in: world, at: .idOrName("x"))
      }
      await #expect(throws: BlockError(.notFound, "")) {
        _ = try await SnapshotImage(file, in: world, readOnly: true, at: .id("x"))
      }
    }
  }

  @Test func aDamagedSnapshotTableRefusesWritersAlone() async throws {
    let world = World.simulated(seed: 1)
    try await world.run { () async throws in
      let image = try await image(in: world)
      try await image.graph.createSnapshot(named: "x", of: image.node)
      try await image.close()
      let file = image.disk.visibleImage
      let table = word(file, 64)
      let damages: [(at: Int, bytes: [UInt8], text: String)] = [
        (table + 36, [0, 0, 0x10, 0], "Too much extra metadata in snapshot table entry 0"),
        (64, [0, 0, 0, 1, 0, 0, 0, 0], "ends beyond the file"),
        (60, [0, 1, 0, 1], "Snapshot table too large"),
      ]
      for damage in damages {
        let damaged = patched(file, damage.bytes, at: damage.at)
        do {
          _ = try await SnapshotImage(damaged, in: world)
          Issue.record("a writer opened it: \(damage)")
        } catch let error as BlockError {
          #expect(error.message.contains(damage.text))
        }
      }
      let readable = patched(file, damages[0].bytes, at: damages[0].at)
      _ = try await SnapshotImage(readable, in: world, readOnly: true)
    }
  }

  @Test func aSnapshotWithDamagedTablesIsNeitherAppliedNorDeleted() async throws {
    let world = World.simulated(seed: 1)
    try await world.run { () async throws in
      let image = try await image(clusterSize: 4096, in: world)
      try await image.door.fill(1, at: 0, count: 40_000)
      try await image.graph.createSnapshot(named: "x", of: image.node)
      try await image.door.fill(2, at: 0, count: 40_000)
      try await image.close()
      let file = image.disk.visibleImage
      let table = word(file, 64)
      let l1 = word(file, table)
      let l2 = word(file, l1)
      let block = word(file, word(file, 48))
      func bytes(_ value: Int) -> [UInt8] { DamagedImage.bytes(UInt64(value)) }
      let damages: [(at: Int, bytes: [UInt8])] = [
        (table, bytes(l1 + 8)),  // a table that is not at a cluster's start
        (table + 8, [0xff, 0xff, 0xff, 0xff]),  // larger than any
        (table, bytes(1 << 40)),  // beyond the file
        (table, bytes(word(file, 40))),  // the active one's place
        (l1, bytes(1 << 40)), (l1, bytes(l2 + 512)), (l1, bytes(block)), (l1, bytes(l1)),
        (l2, bytes(block)), (l2, bytes(1 << 40)), (l2, bytes(table)),
        (l2, bytes(word(file, l2) + 512)),
      ]
      for damage in damages {
        let damaged = patched(file, damage.bytes, at: damage.at)
        for isDeletion in [false, true] {
          let image = try await SnapshotImage(damaged, in: world, forgets: false)
          let refusal = await error { () async throws(BlockError) in
            if isDeletion {
              try await image.graph.deleteSnapshot(.id("1"), of: image.node)
            } else {
              try await image.graph.applySnapshot(.id("1"), to: image.node)
            }
          }
          #expect(refusal != nil, "\(damage), deletion: \(isDeletion)")
          try await image.close()
          let isUnchanged = image.disk.visibleImage == damaged
          #expect(isUnchanged, "\(damage), deletion: \(isDeletion)")
        }
      }
    }
  }

  @Test func aVersion2ImageWithSnapshotsKeepsItsSize() async throws {
    let world = World.simulated(seed: 1)
    try await world.run { () async throws in
      let image = try await image(version: .v2, in: world)
      try await image.graph.createSnapshot(named: "x", of: image.node)
      let refusal = await error { () async throws(BlockError) in
        try await image.door.resize(to: 1 << 20)
      }
      #expect(refusal?.message == "Can't resize a v2 image which has snapshots")
      try await image.close()
    }
  }
}
