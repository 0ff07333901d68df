import BlockLayer
import BlockTestKit
import DirtyBitmap
import Execution
import Primitives
import Testing

@testable import BackupJob

/// What becomes of the bitmap: the table, and jobs that live by it.
@Suite struct BitmapOutcomeTests {
  @Test func theTableIsThatOfTheSpecification() {
    let rows: [(BackupSpec.BitmapMode, [BitmapOutcome])] = [
      (.onSuccess, [.written, .everything, .everything]),
      (.never, [.everything, .everything, .everything]),
      (.always, [.written, .remaining, .remaining]),
    ]
    for (mode, outcomes) in rows {
      for (ending, outcome) in zip([JobEnding.success, .failure, .cancel], outcomes) {
        #expect(BitmapOutcome.after(ending, mode) == outcome, "\(mode) \(ending)")
      }
    }
  }

  /// One line of a table of verified instances: 16 clusters, bits 1, 2 and 5 dirty, the guest
  /// overwrites 9 when the job begins, one worker.
  struct Row: CustomTestStringConvertible, Sendable {
    var sync: BackupSpec.Sync
    var mode: BackupSpec.BitmapMode
    var copied: [Int]
    var dirty: [Int]
    var work: Int
    var done: Int
    var testDescription: String { "\(sync)/\(mode.rawValue)" }
  }

  /// §4.5: reading cluster 5 fails.
  @Test(arguments: [
    Row(
      sync: .full, mode: .onSuccess, copied: [0, 1, 2, 3, 4, 9], dirty: [1, 2, 5, 9],
      work: 1_048_576, done: 393216),
    Row(
      sync: .full, mode: .always, copied: [0, 1, 2, 3, 4, 9], dirty: Array(5..<16),
      work: 1_048_576, done: 393216),
    Row(
      sync: .top, mode: .onSuccess, copied: [1, 2, 4, 9], dirty: [1, 2, 5, 9], work: 655360,
      done: 262144),
    Row(
      sync: .top, mode: .always, copied: [1, 2, 4, 9], dirty: Array(5..<12), work: 655360,
      done: 262144),
    Row(
      sync: .incremental, mode: .onSuccess, copied: [1, 2], dirty: [1, 2, 5, 9], work: 196608,
      done: 131072),
    Row(
      sync: .bitmap, mode: .onSuccess, copied: [1, 2], dirty: [1, 2, 5, 9], work: 196608,
      done: 131072),
    Row(
      sync: .bitmap, mode: .never, copied: [1, 2], dirty: [1, 2, 5, 9], work: 196608,
      done: 131072),
    Row(
      sync: .bitmap, mode: .always, copied: [1, 2], dirty: [5, 9], work: 196608, done: 131072),
  ])
  func aFailureLeavesTheBitmapAsTheTableSays(row: Row) async throws {
    try await simulate(seeds: 0..<6) { world in
      let fixture = try LayeredFixture(world)
      let job = try await prepare(row, fixture)
      fixture.disk.disk.faults = FaultPlan([
        .init([.read], in: ByteRange(offset: 5 * 65536, count: 65536))
      ])
      job.start()
      let result = await job.wait()
      #expect(result.error?.message == "Input/output error", fixture.base.seed)
      try check(row, fixture, job)
    }
  }

  @Test(arguments: [
    Row(
      sync: .full, mode: .onSuccess, copied: Array(0..<16), dirty: [9], work: 1_048_576,
      done: 1_048_576),
    Row(
      sync: .full, mode: .always, copied: Array(0..<16), dirty: [9], work: 1_048_576,
      done: 1_048_576),
    Row(
      sync: .top, mode: .always, copied: [1, 2] + Array(4..<12), dirty: [9], work: 655360,
      done: 655360),
    Row(
      sync: .incremental, mode: .onSuccess, copied: [1, 2, 5], dirty: [9], work: 196608,
      done: 196608),
    Row(
      sync: .bitmap, mode: .never, copied: [1, 2, 5], dirty: [1, 2, 5, 9], work: 196608,
      done: 196608),
    Row(
      sync: .bitmap, mode: .always, copied: [1, 2, 5], dirty: [9], work: 196608, done: 196608),
  ])
  func aSuccessLeavesTheBitmapAsTheTableSays(row: Row) async throws {
    try await simulate(seeds: 0..<6) { world in
      let fixture = try LayeredFixture(world)
      let job = try await prepare(row, fixture)
      job.start()
      #expect(await job.wait() == .success, fixture.base.seed)
      try check(row, fixture, job)
    }
  }

  /// Cancelled before anything was copied but what the guest overwrote, and when all was.
  @Test func aCancellationLeavesTheBitmapAsTheTableSays() async throws {
    let rows: [(BackupSpec.Sync, BackupSpec.BitmapMode, early: [Int], late: [Int])] = [
      (.full, .onSuccess, [1, 2, 5, 9], [1, 2, 5, 9]),
      (.full, .always, Array(0..<16), [9]),
      (.incremental, .onSuccess, [1, 2, 5, 9], [1, 2, 5, 9]),
      (.bitmap, .never, [1, 2, 5, 9], [1, 2, 5, 9]),
      (.bitmap, .always, [1, 2, 5, 9], [9]),
    ]
    for (sync, mode, early, late) in rows {
      let row = Row(sync: sync, mode: mode, copied: [], dirty: [], work: 0, done: 0)
      try await simulate(seeds: 0..<3) { world in
        let fixture = try LayeredFixture(world)
        let job = try await prepare(row, fixture)
        try job.cancel()
        #expect(await job.wait() == .cancelled)
        #expect(try fixture.top.dirtyClusters("b") == early, "\(sync) \(mode) \(world.seed)")
      }
      try await simulate(seeds: 0..<3) { world in
        let fixture = try LayeredFixture(world)
        let job = try await prepare(row, fixture, autoFinalize: false)
        job.start()
        await job.wait(for: [.pending])
        try job.cancel()
        #expect(await job.wait() == .cancelled)
        #expect(try fixture.top.dirtyClusters("b") == late, "\(sync) \(mode) \(world.seed)")
        #expect(job.progress.isCompleted)
      }
    }
  }

  @Test func whatTheTargetMayHaveLostIsNotTakenFromTheBitmap() async throws {
    for mode in [BackupSpec.BitmapMode.always, .onSuccess] {
      let row = Row(sync: .bitmap, mode: mode, copied: [], dirty: [], work: 0, done: 0)
      try await simulate(seeds: 0..<3) { world in
        let fixture = try LayeredFixture(world)
        let job = try await prepare(row, fixture)
        fixture.base.target.failFlushes()
        job.start()
        #expect(await job.wait().error != nil, fixture.base.seed)
        #expect(job.progress.isCompleted)
        #expect(try fixture.top.dirtyClusters("b") == [1, 2, 5, 9], fixture.base.seed)
      }
    }
  }

  /// Row J52.
  @Test func aDisabledBitmapEndsDisabledAndClear() async throws {
    try await withFixture(seeds: 0..<3) { fixture in
      try fixture.sourceNode.addBitmap("b")
      try await fixture.write(clusters: [3])
      let bitmap = try fixture.sourceNode.bitmaps.named("b")
      try bitmap.disable()
      let job = try await fixture.jobs.prepareBackup(fixture.spec(.incremental, bitmap: "b"))
      try await fixture.write(clusters: [4], number: 3)
      job.start()
      #expect(await job.wait() == .success)
      #expect(try fixture.sourceNode.dirtyClusters("b") == [])
      #expect(!bitmap.isEnabled)
    }
  }

  /// §2.7: the successor's place is the front.
  @Test func aBitmapThatStartsAnewIsTheNewest() async throws {
    try await withFixture(seeds: 0..<1) { fixture in
      try fixture.sourceNode.addBitmap("old")
      try fixture.sourceNode.addBitmap("new")
      let job = try await fixture.jobs.backup(fixture.spec(.incremental, bitmap: "old"))
      _ = await job.wait()
      #expect(fixture.sourceNode.bitmaps.all.map(\.name) == ["old", "new"])
    }
  }

  private func prepare(
    _ row: Row, _ fixture: LayeredFixture, autoFinalize: Bool = true
  ) async throws -> Job {
    try await fixture.dirty()
    var spec = BackupSpec(
      source: "drive1", target: "t", sync: row.sync, bitmap: "b", bitmapMode: row.mode)
    spec.maxWorkers = 1
    spec.maxChunk = 65536
    spec.autoFinalize = autoFinalize
    let job = try await fixture.base.jobs.prepareBackup(spec)
    try await fixture.write(9, number: 10)
    return job
  }

  private func check(_ row: Row, _ fixture: LayeredFixture, _ job: Job) throws {
    let seed = fixture.base.seed
    #expect(fixture.base.target.writtenClusters == row.copied, seed)
    #expect(try fixture.top.dirtyClusters("b") == row.dirty, seed)
    #expect(job.progress == JobProgress(current: row.done, total: row.work), seed)
    #expect(fixture.base.jobs.jobs.isEmpty)
    #expect(fixture.guest.node === fixture.top)
  }
}
