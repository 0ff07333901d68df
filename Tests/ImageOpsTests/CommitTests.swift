import BlockLayer
import BlockTestKit
import Execution
import ImageOps
import Lamina
import Primitives
import Qcow2
import Testing

/// Commits of random overlays.
@Suite struct CommitTests {
  @Test(arguments: 0..<30)
  func theBaseShowsWhatTheOverlayShowed(seed: Int) async throws {
    let lab = ChainLab(seed: UInt64(seed))
    try await lab.world.run {
      var random = lab.world.makeRandom("commit")
      let base = try await lab.randomChain(&random)
      let before = try await lab.contents(base)
      let top = try await lab.image(
        length: lab.randomLength(&random), clusterSize: lab.randomClusterSize(&random),
        version: seed % 4 == 0 ? .v2 : .v3, backing: base)
      try await lab.scribble(top, count: 8, &random)
      let expected = try await lab.contents(top)
      try await Commit.run(top, into: base)
      #expect(base.length == max(before.count, expected.count))
      let after = expected + before.dropFirst(expected.count)
      #expect(try await lab.contents(base).firstDifference(from: after) == nil, "seed \(seed)")
      #expect(try await lab.contents(top).firstDifference(from: expected) == nil, "seed \(seed)")
      #expect(try await lab.allocatedBytes(top) == 0, "seed \(seed)")
      #expect(try await lab.findings(top) == [], "seed \(seed)")
      #expect(try await lab.findings(base) == [], "seed \(seed)")
      // It goes on as an overlay.
      try await lab.scribble(top, count: 4, &random)
      let later = try await lab.contents(top)
      let file = try await lab.file(closing: top)
      let again = try await lab.open(file, backing: base)
      #expect(try await lab.contents(again).firstDifference(from: later) == nil, "seed \(seed)")
      #expect(try await lab.findings(again) == [], "seed \(seed)")
    }
  }

  @Test(arguments: 0..<12)
  func aDeeperBaseGetsWhatTheLayersAboveItHave(seed: Int) async throws {
    let lab = ChainLab(seed: UInt64(seed))
    try await lab.world.run {
      var random = lab.world.makeRandom("commit")
      let base = try lab.disk(length: lab.randomLength(&random))
      try await lab.scribble(base, count: 5, &random)
      let middle = try await lab.image(
        length: lab.randomLength(&random), clusterSize: lab.randomClusterSize(&random),
        backing: base)
      try await lab.scribble(middle, count: 5, &random)
      let top = try await lab.image(
        length: lab.randomLength(&random), clusterSize: lab.randomClusterSize(&random),
        backing: middle)
      try await lab.scribble(top, count: 5, &random)
      let expected = try await lab.contents(top)
      await #expect(throws: BlockError(.invalidArgument, "")) {
        try await Commit.run(top, into: base)
      }
      try await Commit.run(top, into: base, empties: false)
      let shown = Array(try await lab.contents(base).prefix(expected.count))
      #expect(shown.firstDifference(from: expected) == nil, "seed \(seed)")
      #expect(try await lab.contents(top).firstDifference(from: expected) == nil, "seed \(seed)")
    }
  }

  @Test func bitmapsOfTheOverlayStay() async throws {
    let lab = ChainLab(seed: 5)
    try await lab.world.run {
      let base = try lab.disk(length: 1 << 20)
      let top = try await lab.image(length: 1 << 20, backing: base)
      try top.addBitmap("b", granularity: 65536, persistent: true)
      try await lab.write(top, ByteRange(100_000, 300_000))
      let marked = try top.bitmaps.named("b").runs
      try await Commit.run(top, into: base)
      let file = try await lab.file(closing: top)
      let again = try await lab.open(file, backing: base)
      let bitmap = try again.bitmaps.named("b")
      #expect(!bitmap.isInconsistent)
      #expect(bitmap.runs == marked)
      #expect(try await lab.findings(again) == [])
    }
  }

  @Test(arguments: 0..<8)
  func snapshotsOfTheOverlayStay(seed: Int) async throws {
    let lab = ChainLab(seed: UInt64(seed))
    try await lab.world.run {
      var random = lab.world.makeRandom("commit")
      let base = try lab.disk(length: lab.randomLength(&random))
      let top = try await lab.image(
        length: lab.randomLength(&random), clusterSize: lab.randomClusterSize(&random),
        backing: base)
      guard let store = top.driver as? any SnapshotStore else {
        Issue.record("a qcow2 image keeps snapshots")
        return
      }
      try await lab.scribble(top, count: 8, &random)
      let before = try await lab.contents(top)
      let snapshot = try await store.createSnapshot(named: "s", secondsSince1970: 1)
      try await lab.scribble(top, count: 4, &random)
      let expected = try await lab.contents(top)
      try await Commit.run(top, into: base)
      #expect(try await lab.contents(top).firstDifference(from: expected) == nil, "seed \(seed)")
      #expect(try await lab.findings(top) == [], "seed \(seed)")
      try await lab.scribble(top, count: 4, &random)
      #expect(try await lab.findings(top) == [], "seed \(seed)")
      try await store.applySnapshot(.id(snapshot.id))
      // What the overlay had is back; what it did not have is the base's.
      let applied = try await lab.contents(top)
      #expect(applied.count == before.count)
      #expect(try await lab.findings(top) == [], "seed \(seed)")
      try await store.deleteSnapshot(.id(snapshot.id))
      #expect(try await lab.contents(top) == applied, "seed \(seed)")
      #expect(try await lab.findings(top) == [], "seed \(seed)")
    }
  }

  @Test func anOverlayThatWasEmptiedGivesItsSpaceBack() async throws {
    let lab = ChainLab(seed: 5)
    try await lab.world.run {
      let file = MemoryDriver(length: 0, growsOnWrite: true)
      let node = try lab.graph.addNode(file, options: NodeOptions(discard: .unmap))
      let base = try lab.disk(length: 8 << 20)
      let top = try await lab.image(length: 8 << 20, backing: base, file: node)
      try await lab.write(top, ByteRange(0, 8 << 20))
      try await top.flush()
      #expect(file.allocatedBytes > 8 << 20)
      try await Commit.run(top, into: base)
      #expect(file.allocatedBytes < 1 << 20)
    }
  }

  @Test func whatCannotBeEmptiedIsNotCopiedEither() async throws {
    let lab = ChainLab(seed: 5)
    try await lab.world.run {
      var options = NewImageOptions(virtualSize: 1 << 20)
      options.dataFileName = EmbeddedName(bytes: Array("data".utf8))
      options.isDataFileRaw = true
      let file = try lab.newFile()
      let data = try lab.newFile()
      try await Qcow2Driver.create(options, in: file, dataFile: data)
      let base = try lab.disk(length: 1 << 20)
      var opening = OpenOptions(format: "qcow2")
      opening.dataFile = .node(data)
      opening.backing = .node(base)
      let top = try await lab.graph.open(file: file, opening)
      try await lab.write(top, ByteRange(0, 1000))
      let before = try await lab.contents(base)
      await #expect(throws: BlockError(.unsupported, "")) { try await Commit.run(top, into: base) }
      #expect(try await lab.contents(base) == before)
      // Nor does it get a backing file, which would not show through either.
      let record = RecordedBacking(name: "base", format: "raw")
      await #expect(throws: BlockError(.invalidArgument, "")) {
        try await Rebase.unsafely(top, onto: record)
      }
      await #expect(throws: BlockError(.invalidArgument, "")) {
        try await Rebase.safely(top, onto: record, showing: base)
      }
    }
  }

  @Test func aRawImageCannotBeEmptied() async throws {
    let lab = ChainLab(seed: 5)
    try await lab.world.run {
      let disk = try lab.disk(length: 512)
      await #expect(throws: BlockError(.unsupported, "")) { try await disk.makeEmpty() }
    }
  }
}
