import LaminaTestKit
import Synchronization
import Testing

/// Backups and bitmap commands that happen at one moment.
///
/// Source: QEMU's iotest 124, `test_incremental_transaction` and `do_transaction_failure_test`.
@Suite struct TransactionTests {
  /// Two bitmaps, added at different times, are made to start with the same full backup; an
  /// increment through either is the disk.
  @Test(arguments: Stage.allCases)
  func twoBitmapsStartAnewWithTheSameBackup(stage: Stage) async throws {
    try await stage.play { scene in
      let lab = scene.lab
      let disk = try await lab.addDisk("drive0", holding: Fill.initial)
      let first = try await lab.addBitmap("bitmap0", to: disk)
      let guest = scene.guest(on: disk)
      try await disk.write(Fill.firstRound)
      let second = try await lab.addBitmap("bitmap1", to: disk)
      try await scene.expectBitmap(first, count: 458_752)
      let prepared = try await disk.prepareBackup()
      let jobs = try await lab.jobs.transaction([
        .clearBitmap(node: "drive0", name: "bitmap0"),
        .clearBitmap(node: "drive0", name: "bitmap1"),
        prepared.action,
      ])
      prepared.didBegin()
      let full = try await prepared.finish(try #require(jobs.first))
      scene.expectSuccess(full, work: 64 << 20)
      for series in [first, second] {
        try await series.restart(with: full)
        try await scene.expectBitmap(series, count: 0)
      }
      try await disk.write(Fill.secondRound)
      for series in [first, second] {
        try await scene.expectBitmap(series, count: 1_507_328)
        scene.expectSuccess(try await series.backup(), work: 1_507_328)
        try await scene.expectBitmap(series, count: 0)
      }
      try await scene.end([guest], [first, second])
    }
  }

  /// One of two jobs fails: the other is cancelled, both bitmaps keep all, and the same transaction
  /// succeeds when it is run again.
  @Test(arguments: Stage.allCases)
  func aGroupOfWhichOneFailsIsRunAgain(stage: Stage) async throws {
    let failures = Atomic<Int>(0)
    try await stage.play { scene in
      let pair = try await DiskPair(scene)
      let guests = [scene.guest(on: pair.disks[0]), pair.quietGuest(on: pair.disks[1])]
      try await pair.disks[0].write(Fill.firstRound)
      try await pair.disks[1].write(Fill.firstRound.with(bytes: 0xba, 0xef, 0x46))
      if try await pair.run(idleWork: 458_752) {
        failures.add(1, ordering: .relaxed)
        for series in pair.series { try await scene.expectBitmap(series, count: 458_752) }
        let failsAgain = try await pair.run(idleWork: 458_752)
        #expect(!failsAgain, scene.seed)
      }
      for series in pair.series {
        try await scene.expectBitmap(series, count: 0)
        try await series.makeReference()
      }
      try await scene.end(guests, pair.series)
    }
    stage.expectFailures(failures.load(ordering: .relaxed))
  }

  /// A member with nothing to copy is cancelled like any other, whether or not it waits already.
  @Test(arguments: Stage.allCases)
  func aMemberWithNothingToCopyIsCancelledWithItsGroup(stage: Stage) async throws {
    let failures = Atomic<Int>(0)
    try await stage.play { scene in
      let pair = try await DiskPair(scene)
      let guest = pair.quietGuest(on: pair.disks[1])
      try await pair.disks[1].write(Fill.firstRound.with(bytes: 0xba, 0xef, 0x46))
      if try await pair.run(idleWork: 0) {
        failures.add(1, ordering: .relaxed)
        try await scene.expectBitmap(pair.series[0], count: 0)
        try await scene.expectBitmap(pair.series[1], count: 458_752)
      }
      try scene.lab.checkAtRest()
      try await guest?.stop()
    }
    stage.expectFailures(failures.load(ordering: .relaxed))
  }
}

/// Two disks with a bitmap and a full backup each; the second one's first read after a flush fails.
private struct DiskPair {
  let scene: Scene
  let disks: [LabDisk]
  let series: [BackupSeries]

  init(_ scene: Scene) async throws {
    self.scene = scene
    let lab = scene.lab
    disks = [
      try await lab.addDisk("drive0", holding: Fill.initial),
      try await lab.addDisk(
        "drive1", holding: Fill.initial.with(bytes: 0x14, 0x5d, 0xcd),
        faults: .firstReadAfterFlushFails),
    ]
    series = [
      try await lab.addBitmap("bitmap0", to: disks[0]),
      try await lab.addBitmap("bitmap0", to: disks[1]),
    ]
    for disk in disks { scene.expectSuccess(try await disk.backup(), work: 64 << 20) }
    _ = lab.jobs.events.take()
  }

  /// A guest that neither reads nor flushes leaves the failure to the job, mostly.
  func quietGuest(on disk: LabDisk) -> GuestWorkload? {
    scene.guest(on: disk, mix: .init(write: 8, writeZeroes: 1, discard: 0, read: 0, flush: 0))
  }

  /// Runs an increment of both disks as a group, and expects what happens; whether it failed.
  ///
  /// `idleWork` is what the first disk's job copies when no guest is there.
  func run(idleWork: Int) async throws -> Bool {
    let prepared = [try await series[0].prepareBackup(), try await series[1].prepareBackup()]
    let jobs = try await scene.lab.jobs.transaction(
      prepared.map(\.action), completion: .grouped)
    for backup in prepared { backup.didBegin() }
    let runs = [try await prepared[0].finish(jobs[0]), try await prepared[1].finish(jobs[1])]
    let events = scene.lab.jobs.events.take()
    #expect(scene.lab.jobs.jobs.isEmpty, scene.seed)
    if runs[1].result == .success {
      #expect(runs[0].result == .success, scene.seed)
      scene.expect(events, success(scene.hasGuest ? runs[0].work : .exactly(idleWork), runs[1]))
      try scene.lab.checkSameMoment(Array(zip(disks, runs)))
      return false
    }
    #expect(runs[0].result == .cancelled, scene.seed)
    #expect(runs[1].result.error?.message == "Input/output error", scene.seed)
    scene.expect(events, failure(idleWork))
    for run in runs { #expect(!scene.lab.images.has(run.target), scene.seed) }
    return true
  }

  /// Both wait for each other, then both end.
  private func success(_ work: EventField, _ second: BackupRun) -> EventScript {
    let works = [work, scene.hasGuest ? second.work : 458_752]
    let ends = zip(["drive0", "drive1"], works).map { job, work -> [EventScript.Step] in
      [
        .status(job, .pending), .completed(job, len: work, offset: work),
        .status(job, .concluded, .null),
      ]
    }
    return [
      .status("drive0", .created), .status("drive1", .created),
      .together([.status("drive0", .running, .waiting)], [.status("drive1", .running, .waiting)]),
      .together(ends[0], ends[1]),
    ]
  }

  /// The second job fails, and the first one is cancelled for it, at whatever point it is.
  ///
  /// On threads another worker may have copied what failed before the failure was noticed.
  private func failure(_ idleWork: Int) -> EventScript {
    let idle: EventField = scene.hasGuest ? .any : .exactly(idleWork)
    let most: EventField = scene.hasGuest ? .any : .within(0...idleWork)
    return [
      .status("drive0", .created), .status("drive1", .created),
      .together(
        [.status("drive0", .running), .perhaps("drive0", .waiting)],
        [.status("drive1", .running)]),
      .failed("drive1", "read"),
      .together(
        [
          .perhaps("drive0", .waiting), .status("drive0", .aborting),
          .cancelled("drive0", len: idle, offset: most), .status("drive0", .concluded, .null),
        ],
        [
          .status("drive1", .aborting),
          .completed(
            "drive1", len: scene.hasGuest ? .any : 458_752,
            offset: scene.hasGuest ? .any : .within(0...458_752), error: "Input/output error"),
          .status("drive1", .concluded, .null),
        ]),
    ]
  }
}
