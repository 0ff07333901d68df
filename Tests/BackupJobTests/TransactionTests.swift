import BackupJob
import BlockLayer
import BlockTestKit
import DirtyBitmap
import Execution
import Primitives
import Testing

/// §6: actions on bitmaps happen together, or not at all.
@Suite struct TransactionTests {
  /// What a node's bitmaps are, in every respect that a user can see.
  private struct Bitmaps: Equatable {
    var infos: [BitmapInfo]
    var runs: [[ByteRange]]

    init(_ node: BlockNode) {
      infos = node.bitmaps.all.map(\.info)
      runs = node.bitmaps.all.map(\.runs)
    }
  }

  /// `b` has 1 and 2, `c` has 3 and is disabled, `big` has all three in large granules.
  private func prepare(_ fixture: BackupFixture) async throws {
    let node = fixture.sourceNode
    try node.addBitmap("b", granularity: 65536)
    try node.addBitmap("big", granularity: 1 << 18)
    try await fixture.write(clusters: [1, 2])
    try node.bitmaps.named("b").disable()
    try node.addBitmap("c", granularity: 65536)
    try await fixture.write(clusters: [3])
    try node.bitmaps.named("b").enable()
    try node.bitmaps.named("c").disable()
  }

  private func message(
    _ fixture: BackupFixture, _ actions: [Transaction.Action],
    _ mode: Transaction.CompletionMode = .individual
  ) async -> String? {
    do throws(JobError) {
      try await fixture.jobs.transaction(actions, completion: mode)
      return nil
    } catch {
      return error.message
    }
  }

  @Test func eachActionDoesWhatItSays() async throws {
    try await withFixture(seeds: 0..<1) { fixture in
      try await prepare(fixture)
      let node = fixture.sourceNode
      let jobs = try await fixture.jobs.transaction([
        .addBitmap(node: "n0", name: "new", granularity: 512, disabled: true),
        .mergeBitmaps(node: "drive0", target: "new", sources: ["b", .init("c", on: .node(node))]),
        .clearBitmap(node: "n0", name: "b"),
        .disableBitmap(node: "n0", name: "b"),
        .enableBitmap(node: "n0", name: "c"),
        .removeBitmap(node: "n0", name: "big"),
      ])
      #expect(jobs.isEmpty)
      #expect(node.bitmaps.all.map(\.name) == ["new", "c", "b"])
      #expect(try node.dirtyClusters("new") == [1, 2, 3])
      #expect(try node.bitmaps.named("new").info.isRecording == false)
      #expect(try node.dirtyClusters("b") == [])
      #expect(try node.bitmaps.named("b").isEnabled == false)
      #expect(try node.bitmaps.named("c").isEnabled)
      #expect(fixture.jobs.events.take().isEmpty)
      #expect(try await fixture.jobs.transaction([]).isEmpty)
    }
  }

  /// The row of each action in §6.1, undone.
  @Test func whatFailsLeavesEverythingAsItWas() async throws {
    let actions: [[Transaction.Action]] = [
      [.addBitmap(node: "n0", name: "new")],
      [.clearBitmap(node: "n0", name: "b")],
      [.enableBitmap(node: "n0", name: "c")],
      [.enableBitmap(node: "n0", name: "b")],
      [.disableBitmap(node: "n0", name: "b")],
      [.mergeBitmaps(node: "n0", target: "c", sources: ["b", "big"])],
      [.removeBitmap(node: "n0", name: "b")],
      [.clearBitmap(node: "n0", name: "b"), .clearBitmap(node: "n0", name: "b")],
      [
        .clearBitmap(node: "n0", name: "b"), .mergeBitmaps(node: "n0", target: "b", sources: ["c"]),
        .disableBitmap(node: "n0", name: "b"), .enableBitmap(node: "n0", name: "b"),
        .removeBitmap(node: "n0", name: "b"),
      ],
      [.addBitmap(node: "n0", name: "new"), .removeBitmap(node: "n0", name: "new")],
    ]
    for (index, list) in actions.enumerated() {
      try await withFixture(seeds: 0..<1) { fixture in
        try await prepare(fixture)
        let before = Bitmaps(fixture.sourceNode)
        #expect(
          await message(fixture, list + [.abort]) == "Transaction aborted using Abort action")
        #expect(Bitmaps(fixture.sourceNode) == before, "list \(index)")
        try await fixture.write(clusters: [9])
        #expect(try fixture.sourceNode.dirtyClusters("b") == [1, 2, 9], "list \(index)")
        #expect(try fixture.sourceNode.dirtyClusters("c") == [3], "list \(index)")
      }
    }
  }

  @Test func refusalsHaveTheTextsOfTheCommands() async throws {
    try await withFixture(seeds: 0..<1) { fixture in
      try await prepare(fixture)
      let before = Bitmaps(fixture.sourceNode)
      let busy = "Bitmap 'b' is currently in use by another operation and cannot be used"
      let missing = "Dirty bitmap 'x' not found"
      let rows: [([Transaction.Action], String)] = [
        ([.addBitmap(node: "zz", name: "")], "Bitmap name cannot be empty"),
        (
          [.addBitmap(node: "zz", name: "x")],
          "Cannot find device='zz' nor node-name='zz'"
        ),
        (
          [.addBitmap(node: "n0", name: "x", granularity: 100)],
          "Granularity must be power of 2 and at least 512"
        ),
        ([.addBitmap(node: "n0", name: "b")], "Bitmap already exists: b"),
        ([.clearBitmap(node: "zz", name: "b")], "Node 'zz' not found"),
        ([.clearBitmap(node: "n0", name: "x")], missing),
        ([.enableBitmap(node: "n0", name: "x")], missing),
        ([.disableBitmap(node: "n0", name: "x")], missing),
        ([.removeBitmap(node: "n0", name: "x")], missing),
        ([.mergeBitmaps(node: "n0", target: "x", sources: [])], missing),
        ([.mergeBitmaps(node: "n0", target: "b", sources: ["big", "x"])], missing),
        (
          [.mergeBitmaps(node: "n0", target: "b", sources: [.init("b", on: "zz")])],
          "Node 'zz' not found"
        ),
        (
          [.removeBitmap(node: "n0", name: "b"), .addBitmap(node: "n0", name: "b")],
          "Bitmap already exists: b"
        ),
        ([.removeBitmap(node: "n0", name: "b"), .clearBitmap(node: "n0", name: "b")], busy),
        (
          [
            .removeBitmap(node: "n0", name: "b"),
            .mergeBitmaps(node: "n0", target: "c", sources: ["b"]),
          ],
          busy
        ),
        ([.clearBitmap(node: "n0", name: "b"), .enableBitmap(node: "n0", name: "x")], missing),
      ]
      for (actions, text) in rows {
        #expect(await message(fixture, actions) == text)
        #expect(Bitmaps(fixture.sourceNode) == before, "\(text)")
      }
    }
  }

  @Test func aMergeOfOtherSizesIsUndone() async throws {
    try await withFixture(seeds: 0..<1) { fixture in
      try await prepare(fixture)
      let disk = SimulatedDisk(SparseImage(length: 1 << 19), in: fixture.world)
      try fixture.graph.addNode(disk, name: "small").addBitmap("s")
      #expect(
        await message(
          fixture,
          [.mergeBitmaps(node: "n0", target: "b", sources: ["c", .init("s", on: "small")])])
          == "Bitmaps are of different sizes (destination size is 1048576, source size is 524288) "
          + "and can't be merged")
      #expect(try fixture.sourceNode.dirtyClusters("b") == [1, 2])
    }
  }

  @Test func aMergeOfNothingOrOfItselfIsNoChange() async throws {
    try await withFixture(seeds: 0..<1) { fixture in
      try await prepare(fixture)
      let before = Bitmaps(fixture.sourceNode)
      try await fixture.jobs.transaction([
        .mergeBitmaps(node: "n0", target: "b", sources: []),
        .mergeBitmaps(node: "n0", target: "b", sources: ["b", "b"]),
      ])
      #expect(Bitmaps(fixture.sourceNode) == before)
    }
  }

  /// §6.2: said before anything is looked up.
  @Test func bitmapsCannotBeGrouped() async throws {
    let names = [
      "add", "clear", "enable", "disable", "merge", "remove",
    ]
    let actions: [Transaction.Action] = [
      .addBitmap(node: "zz", name: "b"), .clearBitmap(node: "zz", name: "b"),
      .enableBitmap(node: "zz", name: "b"), .disableBitmap(node: "zz", name: "b"),
      .mergeBitmaps(node: "zz", target: "b", sources: []), .removeBitmap(node: "zz", name: "b"),
    ]
    try await withFixture(seeds: 0..<1) { fixture in
      for (name, action) in zip(names, actions) {
        #expect(
          await message(fixture, [.abort, .backup(fixture.spec(.full)), action], .grouped)
            == "Action 'block-dirty-bitmap-\(name)' does not support Transaction property "
            + "completion-mode = grouped")
      }
      #expect(await message(fixture, [], .grouped) == nil)
      #expect(
        await message(fixture, [.abort], .grouped) == "Transaction aborted using Abort action")
      #expect(fixture.jobs.events.take().isEmpty)
    }
  }

  /// Rows of §6.5 that need no job.
  @Test func aBitmapCanBeSplitAndMoved() async throws {
    try await simulate(seeds: 0..<1) { world in
      let fixture = try LayeredFixture(world)
      let jobs = fixture.base.jobs
      try await fixture.dirty()
      try fixture.top.addBitmap("c", granularity: 4096)
      try await fixture.write(9)
      try await jobs.transaction([
        .addBitmap(node: "top", name: "tmp", disabled: true),
        .mergeBitmaps(node: "top", target: "tmp", sources: ["b", "c"]),
        .disableBitmap(node: "top", name: "b"),
        .addBitmap(node: "top", name: "new"),
      ])
      try await fixture.write(12)
      #expect(try fixture.top.dirtyClusters("tmp") == [1, 2, 5, 9])
      #expect(try fixture.top.dirtyClusters("b") == [1, 2, 5, 9])
      #expect(try fixture.top.dirtyClusters("new") == [12])
      try await jobs.transaction([
        .addBitmap(node: "n0", name: "b"),
        .mergeBitmaps(node: "n0", target: "b", sources: [.init("b", on: "top")]),
        .removeBitmap(node: "top", name: "b"),
      ])
      #expect(try fixture.base.sourceNode.dirtyClusters("b") == [1, 2, 5, 9])
      #expect(fixture.top.bitmaps.find("b") == nil)
    }
  }
}
