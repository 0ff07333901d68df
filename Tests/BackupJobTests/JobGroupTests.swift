import BackupJob
import BlockLayer
import BlockTestKit
import DirtyBitmap
import Execution
import Primitives
import Testing

/// §6.3 and the transcripts of §5.6: jobs that end together.
@Suite struct JobGroupTests {
  private func status(_ id: String, _ statuses: JobStatus...) -> [JobEvent] {
    statuses.map { .statusChanged(id: id, status: $0) }
  }

  private func end(_ job: Job) -> JobEnd {
    JobEnd(
      type: "backup", device: job.id, len: job.progress.total, offset: job.progress.current,
      speed: job.speed)
  }

  private let started: [JobEvent] = [
    .statusChanged(id: "drive0", status: .created), .statusChanged(id: "drive1", status: .created),
    .statusChanged(id: "drive0", status: .running), .statusChanged(id: "drive1", status: .running),
  ]
  private let message = "Input/output error"

  /// The first job is slow, the second fails at once.
  @Test func aFailureEndsTheOthersThatRun() async throws {
    try await simulate(seeds: 0..<6) { world in
      let disks = try TwoDisks(world)
      try await disks.addBitmaps([1, 2, 3], [4, 5])
      disks.disk.disk.faults = .failing([.read], nth: 2)
      let jobs = try await disks.jobs.transaction(
        disks.specs { first, _ in first.speed = 1 }, completion: .grouped)
      try await disks.write([8], [9], number: 3)
      #expect(await jobs[0].wait() == .cancelled, disks.base.seed)
      #expect(await jobs[1].wait().error?.message == message, disks.base.seed)
      #expect(
        disks.jobs.events.take()
          == started + [.failed(device: "drive1", operation: "read", action: "report")]
          + status("drive1", .aborting) + status("drive0", .aborting)
          + [.completed(end(jobs[1]), error: message)] + status("drive1", .concluded, .null)
          + [.cancelled(end(jobs[0]))] + status("drive0", .concluded, .null), disks.base.seed)
      #expect(try disks.base.sourceNode.dirtyClusters("b") == [1, 2, 3, 8], disks.base.seed)
      #expect(try disks.node.dirtyClusters("b") == [4, 5, 9], disks.base.seed)
      #expect(disks.isAtRest, disks.base.seed)
    }
  }

  /// The first has nothing to do, and waits when the second fails.
  @Test func aFailureEndsTheOthersThatWait() async throws {
    try await simulate(seeds: 0..<6) { world in
      let disks = try TwoDisks(world)
      try await disks.addBitmaps([], [4, 5])
      disks.disk.disk.faults = .failing([.read], nth: 2)
      let jobs = try await disks.jobs.transaction(
        disks.specs { _, second in second.speed = 65536 }, completion: .grouped)
      try await disks.write([8], [9], number: 3)
      await jobs[0].wait(for: [.waiting])
      _ = await jobs[0].wait()
      #expect(
        disks.jobs.events.take()
          == started + status("drive0", .waiting)
          + [.failed(device: "drive1", operation: "read", action: "report")]
          + status("drive1", .aborting) + [.completed(end(jobs[1]), error: message)]
          + status("drive1", .concluded, .null) + status("drive0", .aborting)
          + [.cancelled(end(jobs[0]))] + status("drive0", .concluded, .null), disks.base.seed)
      #expect(jobs[0].progress == JobProgress(current: 0, total: 0))
      #expect(try disks.base.sourceNode.dirtyClusters("b") == [8], disks.base.seed)
      #expect(try disks.node.dirtyClusters("b") == [4, 5, 9], disks.base.seed)
    }
  }

  @Test func aSuccessIsThatOfAll() async throws {
    try await simulate(seeds: 0..<6) { world in
      let disks = try TwoDisks(world)
      try await disks.addBitmaps([], [4, 5])
      let jobs = try await disks.jobs.transaction(
        disks.specs { _, second in second.speed = 65536 }, completion: .grouped)
      try await disks.write([8], [9], number: 3)
      await jobs[0].wait(for: [.waiting])
      #expect(jobs[0].status == .waiting, disks.base.seed)
      _ = await jobs[0].wait()
      #expect(
        disks.jobs.events.take()
          == started + status("drive0", .waiting) + status("drive1", .waiting)
          + status("drive1", .pending) + status("drive0", .pending)
          + [.completed(end(jobs[1]), error: nil)] + status("drive1", .concluded, .null)
          + [.completed(end(jobs[0]), error: nil)] + status("drive0", .concluded, .null),
        disks.base.seed)
      #expect(try disks.base.sourceNode.dirtyClusters("b") == [8], disks.base.seed)
      #expect(try disks.node.dirtyClusters("b") == [9], disks.base.seed)
      #expect(disks.isAtRest)
    }
  }

  /// One member waits to be finalized, so all do; whichever is told goes on with all.
  @Test func oneFinalizationFinalizesAll() async throws {
    for told in [0, 1] {
      try await simulate(seeds: 0..<3) { world in
        let disks = try TwoDisks(world)
        let jobs = try await disks.jobs.transaction(
          disks.specs(.full) { first, second in
            first.autoFinalize = false
            second.autoFinalize = told == 1
          }, completion: .grouped)
        for job in jobs { await job.wait(for: [.pending]) }
        await world.sleep(nanoseconds: 1_000_000)
        #expect(
          disks.jobs.events.take().dropFirst(6)
            == (status("drive1", .pending)
            + (told == 1 ? [] : [.pending(type: "backup", id: "drive1")])
            + status("drive0", .pending) + [.pending(type: "backup", id: "drive0")])[...],
          disks.base.seed)
        try await jobs[told].finalize()
        #expect(jobs.map(\.result) == [.success, .success], disks.base.seed)
        #expect(
          disks.jobs.events.take()
            == [.completed(end(jobs[1]), error: nil)] + status("drive1", .concluded, .null)
            + [.completed(end(jobs[0]), error: nil)] + status("drive0", .concluded, .null))
        #expect(disks.isAtRest)
      }
    }
  }

  /// Waiting or pending, a member that its user cancels takes the others along.
  @Test func aCancellationIsThatOfAll() async throws {
    for (isPending, cancelled) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
      try await simulate(seeds: 0..<3) { world in
        let disks = try TwoDisks(world)
        try await disks.addBitmaps([1], [4, 5])
        let jobs = try await disks.jobs.transaction(
          disks.specs { _, second in
            second.autoFinalize = !isPending
            second.speed = isPending ? 0 : 1
          }, completion: .grouped)
        try await disks.write([8], [9], number: 3)
        await jobs[0].wait(for: [isPending ? .pending : .waiting])
        try jobs[cancelled].cancel()
        for job in jobs { #expect(await job.wait() == .cancelled, disks.base.seed) }
        #expect(
          disks.jobs.events.take().suffix(8)
            == status("drive1", .aborting) + [.cancelled(end(jobs[1]))]
            + status("drive1", .concluded, .null) + status("drive0", .aborting)
            + [.cancelled(end(jobs[0]))] + status("drive0", .concluded, .null),
          disks.base.seed)
        #expect(try disks.base.sourceNode.dirtyClusters("b") == [1, 8], disks.base.seed)
        #expect(try disks.node.dirtyClusters("b") == [4, 5, 9], disks.base.seed)
        #expect(disks.isAtRest)
      }
    }
  }

  @Test func aGroupOfOneEndsLikeAnyJob() async throws {
    try await withFixture(seeds: 0..<3) { fixture in
      let jobs = try await fixture.jobs.transaction(
        [.backup(fixture.spec(.full))], completion: .grouped)
      #expect(await jobs[0].wait() == .success)
      #expect(
        fixture.jobs.events.take()
          == status("drive0", .created, .running, .waiting, .pending)
          + [.completed(end(jobs[0]), error: nil)] + status("drive0", .concluded, .null),
        fixture.seed)
    }
  }

  /// Each keeps what it has when another fails, for those that are not grouped.
  @Test func individualJobsEndForThemselves() async throws {
    try await simulate(seeds: 0..<3) { world in
      let disks = try TwoDisks(world)
      try await disks.addBitmaps([1], [4])
      disks.disk.disk.faults = .failing([.read], nth: 1)
      let jobs = try await disks.jobs.transaction(disks.specs())
      #expect(await jobs[0].wait() == .success)
      #expect(await jobs[1].wait().error?.message == message)
      #expect(try disks.base.sourceNode.dirtyClusters("b") == [])
      #expect(try disks.node.dirtyClusters("b") == [4])
    }
  }

  /// With `always`, a failed group's bitmaps lose what was copied for good, and no more.
  @Test func eachBitmapFollowsItsOwnMode() async throws {
    try await simulate(seeds: 0..<3) { world in
      let disks = try TwoDisks(world)
      try await disks.addBitmaps([1, 2], [4, 5])
      disks.disk.disk.faults = .failing([.read], nth: 2)
      let jobs = try await disks.jobs.transaction(
        disks.specs(.bitmap, .always) { _, second in second.speed = 65536 },
        completion: .grouped)
      for job in jobs { #expect(await job.wait() != .success) }
      #expect(try disks.base.sourceNode.dirtyClusters("b") == [], disks.base.seed)
      #expect(try disks.node.dirtyClusters("b") == [5], disks.base.seed)
    }
  }

  /// Commands that race with what the group does by itself: all end, with all bitmaps whole.
  @Test func whateverHappensTheGroupEndsAsOne() async throws {
    try await simulate(seeds: 0..<20) { world in
      let disks = try TwoDisks(world)
      try await disks.addBitmaps([1, 2, 3], [4, 5])
      var random = world.makeRandom("race")
      if Bool.random(using: &random) {
        disks.disk.disk.faults = .failing([.read], nth: Int.random(in: 1...6, using: &random))
      }
      let finalizes = Bool.random(using: &random)
      let jobs = try await disks.jobs.transaction(
        disks.specs { first, _ in first.autoFinalize = finalizes }, completion: .grouped)
      try await disturb(jobs, of: disks, random)
      await jobs[0].wait(for: [.pending])
      try? await jobs[1].finalize()
      try await expectOneEnd(of: jobs, disks)
    }
  }

  /// Lets guests write, and does something to the jobs, or nothing.
  private func disturb(
    _ jobs: [Job], of disks: TwoDisks, _ generator: SeededGenerator
  ) async throws {
    var random = generator
    for _ in 0..<Int.random(in: 0..<120, using: &random) { await disks.world.yield() }
    try await disks.write([8], [9], number: 3)
    switch Int.random(in: 0..<4, using: &random) {
    case 0: try? jobs[0].cancel()
    case 1: try? jobs[1].cancel()
    case 2: try? jobs[0].pause()
    default: break
    }
    await disks.world.sleep(nanoseconds: 1_000_000_000)
    try? jobs[0].resume()
  }

  /// Both jobs end in the same way, and so do the bitmaps.
  private func expectOneEnd(of jobs: [Job], _ disks: TwoDisks) async throws {
    let first = await jobs[0].wait() == .success
    let second = await jobs[1].wait() == .success
    let seed = disks.base.seed
    #expect(first == second, seed)
    let source = try disks.base.sourceNode.dirtyClusters("b")
    #expect(source == (first ? [] : [1, 2, 3]) + [8], seed)
    #expect(try disks.node.dirtyClusters("b") == (first ? [] : [4, 5]) + [9], seed)
    #expect(disks.isAtRest, seed)
  }
}
