import BackupJob
import BlockLayer
import BlockTestKit
import DirtyBitmap
import Execution
import Primitives
import Testing

/// §6: backups in transactions, with guests that do not stand still.
@Suite struct TransactionJobTests {
  private func status(_ id: String, _ statuses: JobStatus...) -> [JobEvent] {
    statuses.map { .statusChanged(id: id, status: $0) }
  }

  /// Row `*-backup` of §6.1.
  @Test(arguments: Transaction.CompletionMode.allCases)
  func aTransactionThatFailsUndoesItsJobs(mode: Transaction.CompletionMode) async throws {
    try await simulate(seeds: 0..<6) { world in
      let disks = try TwoDisks(world)
      try await disks.addBitmaps([1, 2], [4])
      await #expect(throws: JobError(.aborted, "Transaction aborted using Abort action")) {
        try await disks.jobs.transaction(disks.specs() + [.abort], completion: mode)
      }
      #expect(
        disks.jobs.events.take()
          == status("drive0", .created) + status("drive1", .created, .aborting, .concluded, .null)
          + status("drive0", .aborting, .concluded, .null), disks.base.seed)
      try await disks.write([8], [9])
      #expect(try disks.base.sourceNode.dirtyClusters("b") == [1, 2, 8], disks.base.seed)
      #expect(try disks.node.dirtyClusters("b") == [4, 9], disks.base.seed)
      #expect(disks.isAtRest && disks.target.written.isEmpty, disks.base.seed)
    }
  }

  @Test func aJobThatCannotBeMadeUndoesTheOthers() async throws {
    try await simulate(seeds: 0..<3) { world in
      let disks = try TwoDisks(world)
      let actions = disks.specs(.full) { _, second in second.speed = -1 }
      await #expect(throws: JobError.self) {
        try await disks.jobs.transaction(actions, completion: .grouped)
      }
      #expect(
        disks.jobs.events.take()
          == status("drive0", .created) + status("drive1", .created, .null)
          + status("drive0", .aborting, .concluded, .null))
      #expect(disks.isAtRest)
    }
  }

  /// A user who is quicker than the commit: the first job is cancelled while the second's target is
  /// looked at.
  @Test(arguments: [true, false]) func aJobCancelledBeforeItsStartNeverStarts(
    aborts: Bool
  ) async throws {
    try await simulate(seeds: 0..<3) { world in
      let disks = try TwoDisks(world)
      try await disks.addBitmaps([1], [4])
      let target = WatchedDisk(disks.target.disk) {
        for job in disks.jobs.jobs where job.id == "drive0" { try? job.cancel() }
      }
      _ = try disks.base.graph.addNode(target, name: "watched")
      var actions = disks.specs { _, second in second.target = "watched" }
      if aborts { actions.append(.abort) }
      let jobs = try? await disks.jobs.transaction(actions, completion: .grouped)
      #expect((jobs == nil) == aborts, disks.base.seed)
      for job in jobs ?? [] { #expect(await job.wait() == .cancelled, disks.base.seed) }
      #expect(try disks.base.sourceNode.dirtyClusters("b") == [1], disks.base.seed)
      #expect(try disks.node.dirtyClusters("b") == [4], disks.base.seed)
      #expect(disks.isAtRest, disks.base.seed)
      let events = disks.jobs.events.take()
      for id in ["drive0", "drive1"] {
        #expect(
          events.filter { status(id, .created, .running, .aborting, .concluded).contains($0) }
            == status(id, .created, .aborting, .concluded), disks.base.seed)
      }
    }
  }

  /// §6.5: [backup, clear] sees a busy bitmap; [clear, backup] makes an empty job.
  @Test func theOrderOfActionsCounts() async throws {
    try await withFixture(seeds: 0..<3) { fixture in
      try fixture.sourceNode.addBitmap("b")
      try await fixture.write(clusters: [1, 2])
      let backup = Transaction.Action.backup(fixture.spec(.incremental, bitmap: "b"))
      for node: BackupSpec.Place in ["n0", "drive0"] {
        await #expect(
          throws: JobError(
            .bitmap, "Bitmap 'b' is currently in use by another operation and cannot be used")
        ) {
          try await fixture.jobs.transaction([backup, .clearBitmap(node: node, name: "b")])
        }
        #expect(try fixture.sourceNode.dirtyClusters("b") == [1, 2])
      }
      // A job that is undone gives back what an earlier action changed.
      await #expect(throws: JobError.self) {
        try await fixture.jobs.transaction([.clearBitmap(node: "n0", name: "b"), backup, .abort])
      }
      #expect(try fixture.sourceNode.dirtyClusters("b") == [1, 2])
      #expect(fixture.isAtRest)
      let jobs = try await fixture.jobs.transaction([
        .clearBitmap(node: "n0", name: "b"), backup,
      ])
      #expect(await jobs[0].wait() == .success)
      #expect(jobs[0].progress == JobProgress(current: 0, total: 0))
      #expect(fixture.target.written.isEmpty)
    }
  }

  /// While a job runs its disk's name means the disk, not the job's filter.
  @Test func aBitmapAddedDuringAJobStays() async throws {
    try await withFixture(seeds: 0..<3) { fixture in
      let jobs = try await fixture.jobs.transaction([
        .backup(fixture.spec(.none)), .addBitmap(node: "drive0", name: "b"),
      ])
      try await fixture.write(clusters: [3])
      try jobs[0].cancel()
      _ = await jobs[0].wait()
      #expect(try fixture.sourceNode.dirtyClusters("b") == [3])
    }
  }

  /// §6.5: [add, backup full] and [clear, backup full], while the guest writes without end: the
  /// bitmap has exactly what the guest wrote after the backup's moment.
  @Test(arguments: [true, false]) func noWriteFallsBetweenABitmapAndABackup(
    adds: Bool
  ) async throws {
    try await simulate(seeds: 0..<12) { world in
      let disks = try TwoDisks(world)
      if !adds { try await disks.addBitmaps([1, 2, 3], [4]) }
      let guest = world.spawn {
        var random = world.makeRandom("guest")
        for number in 100..<160 {
          let cluster = Int.random(in: 0..<16, using: &random)
          try? await disks.write([cluster], [cluster], number: number)
        }
      }
      for _ in 0..<Int(world.seed * 7) { await world.yield() }
      let bitmaps: [Transaction.Action] = ["n0", "n1"].map { node in
        adds
          ? .addBitmap(node: node, name: "b", granularity: 65536)
          : .clearBitmap(node: node, name: "b")
      }
      let jobs = try await disks.jobs.transaction(bitmaps + disks.specs(.full))
      await guest.wait()
      for job in jobs { #expect(await job.wait() == .success, disks.base.seed) }
      let pairs = [
        (disks.base.source, disks.base.target, disks.base.sourceNode),
        (disks.disk, disks.target, disks.node),
      ]
      for (source, target, node) in pairs {
        let changed = (0..<16).filter { cluster in
          let range = ByteRange(offset: cluster * 65536, count: 65536)
          return source.disk.visibleImage.bytes(range) != target.disk.visibleImage.bytes(range)
        }
        #expect(try node.dirtyClusters("b") == changed, disks.base.seed)
      }
    }
  }

  /// The guest writes to one disk, then to the other: no two disks' backups can show the second
  /// write without the first.
  @Test(arguments: Transaction.CompletionMode.allCases)
  func allDisksAreOfOneMoment(mode: Transaction.CompletionMode) async throws {
    try await simulate(seeds: 0..<12) { world in
      let disks = try TwoDisks(world)
      let guest = world.spawn {
        for number in 1..<60 {
          let byte = UInt8(number)
          try? await disks.guest.fill(byte, at: 0, count: 512)
          try? await disks.base.guest.fill(byte, at: 0, count: 512)
        }
      }
      // A third disk, whose guest's long requests each change of its graph waits for.
      let (_, busy) = try disks.base.addTarget("n2")
      _ = try disks.base.addTarget("v")
      let third = try BlockBackend(busy, in: disks.base.graph, name: "drive2")
      let other = world.spawn {
        for _ in 1..<20 { _ = try? await third.read(at: 0, count: 1 << 20) }
      }
      for _ in 0..<Int(world.seed * 5) { await world.yield() }
      var actions = disks.specs(.full)
      actions.insert(.backup(BackupSpec(source: "drive2", target: "v", sync: .full)), at: 1)
      let jobs = try await disks.jobs.transaction(actions, completion: mode)
      await guest.wait()
      await other.wait()
      for job in jobs { #expect(await job.wait() == .success, disks.base.seed) }
      let sector = ByteRange(0, 512)
      let later = disks.base.target.disk.visibleImage.bytes(sector)
      let earlier = disks.target.disk.visibleImage.bytes(sector)
      // The first writes' old contents are no numbers of the guest's.
      if Set(later).count == 1, Set(earlier).count == 1 {
        #expect(
          (0...1).contains(Int(earlier[0]) - Int(later[0])),
          "\(earlier[0]) and \(later[0]), seed \(world.seed)")
      } else {
        #expect(Set(later).count != 1, disks.base.seed)
      }
    }
  }

  /// Transactions, jobs that end and guests, all at once, in any order: nothing hangs.
  @Test func transactionsAndEndsDoNotWaitForEachOther() async throws {
    try await simulate(seeds: 0..<15) { world in
      let disks = try TwoDisks(world)
      try await disks.addBitmaps([1], [4])
      let guest = world.spawn {
        for number in 100..<120 { try? await disks.write([number % 16], [3], number: number) }
      }
      let other = world.spawn {
        for number in 0..<6 {
          let name = "x\(number)"
          _ = try? await disks.jobs.transaction([
            .addBitmap(node: "drive1", name: name), .clearBitmap(node: "n0", name: name),
          ])
          _ = try? await disks.jobs.transaction([.addBitmap(node: "drive1", name: name)])
          _ = try? await disks.jobs.transaction([.removeBitmap(node: "drive1", name: name)])
        }
      }
      for _ in 0..<4 {
        let jobs = try await disks.jobs.transaction(disks.specs(), completion: .grouped)
        for _ in 0..<Int(world.seed) { await world.yield() }
        if world.seed.isMultiple(of: 3) { try? jobs[1].cancel() }
        for job in jobs { _ = await job.wait() }
      }
      await guest.wait()
      await other.wait()
      #expect(disks.node.bitmaps.all.map(\.name) == ["b"], disks.base.seed)
      #expect(disks.isAtRest, disks.base.seed)
    }
  }

  /// The same on real threads, whose order no seed decides.
  @Test func threadsDoNotTearAGroup() async throws {
    let world = World.threaded(threads: 4)
    try await world.run {
      let disks = try TwoDisks(world)
      try await disks.addBitmaps([1, 2], [4])
      for round in 0..<20 {
        let guest = world.spawn {
          for number in 0..<8 { try? await disks.write([number], [number], number: round + 3) }
        }
        let jobs = try await disks.jobs.transaction(disks.specs(), completion: .grouped)
        if round.isMultiple(of: 3) { try? jobs[round % 2].cancel() }
        let results = await (jobs[0].wait(), jobs[1].wait())
        #expect((results.0 == .success) == (results.1 == .success), "round \(round)")
        await guest.wait()
      }
      let last = try await disks.jobs.transaction(disks.specs(), completion: .grouped)
      for job in last { #expect(await job.wait() == .success) }
      for (source, target) in [(disks.base.source, disks.base.target), (disks.disk, disks.target)] {
        for cluster in 0..<8 {
          let range = ByteRange(offset: cluster * 65536, count: 65536)
          #expect(
            source.disk.visibleImage.bytes(range) == target.disk.visibleImage.bytes(range),
            "cluster \(cluster)")
        }
      }
      #expect(disks.isAtRest)
    }
  }
}

/// A disk that tells when somebody asks for its length.
private final class WatchedDisk: BlockDriver {
  private let disk: SimulatedDisk
  private let isAsked: @Sendable () -> Void

  init(_ disk: SimulatedDisk, isAsked: @escaping @Sendable () -> Void) {
    self.disk = disk
    self.isAsked = isAsked
  }

  var driverName: String { "watched" }

  var length: Int {
    isAsked()
    return disk.length
  }

  func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError) {
    try await disk.read(range, into: &buffer)
  }

  func write(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    try await disk.write(range, from: bytes)
  }

  func status(_ range: ByteRange) async throws(BlockError) -> BlockStatus {
    try await disk.status(range)
  }
}
