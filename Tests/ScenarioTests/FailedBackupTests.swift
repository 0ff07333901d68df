import LaminaTestKit
import Synchronization
import Testing

/// Backups that fail, and those after them.
///
/// Source: QEMU's iotest 124, `test_incremental_failure`.
@Suite struct FailedBackupTests {
  /// The first increment fails, the guest goes on, and the next one has all that is missing.
  @Test(arguments: Stage.allCases)
  func aFailedIncrementIsMadeUpForByTheNext(stage: Stage) async throws {
    let failures = Atomic<Int>(0)
    try await stage.play { scene in
      let disk = try await scene.lab.addDisk(
        "drive0", holding: Fill.initial, faults: .firstReadAfterFlushFails)
      scene.expectSuccess(try await disk.backup(), work: 64 << 20)
      let series = try await scene.lab.addBitmap("bitmap0", to: disk)
      // A guest that neither reads nor flushes leaves the failure to the job, mostly.
      let guest = scene.guest(
        on: disk, mix: .init(write: 8, writeZeroes: 1, discard: 0, read: 0, flush: 0))
      try await disk.write(Fill.firstRound)
      let first = try await series.backup()
      if first.result != .success {
        failures.add(1, ordering: .relaxed)
        expectFailure(first, in: scene)
        #expect(series.backups.isEmpty && !scene.lab.images.has(first.target), scene.seed)
        try await scene.expectBitmap(series, count: 458_752)
      }
      try await disk.write(Fill.secondRound)
      // Five granules of the first round are written to again.
      try await scene.expectBitmap(series, count: 1_638_400)
      let second = try await series.backup()
      scene.expectSuccess(second, work: 1_638_400)
      try await scene.expectBitmap(series, count: 0)
      try await scene.end([guest], [series])
    }
    stage.expectFailures(failures.load(ordering: .relaxed))
  }

  private func expectFailure(_ run: BackupRun, in scene: Scene) {
    #expect(run.result.error?.message == "Input/output error", scene.seed)
    #expect(run.job.status == .null, scene.seed)
    let len: EventField = scene.hasGuest ? .any : 458_752
    // On threads another worker may have copied what failed before the failure was noticed.
    let offset: EventField = scene.hasGuest ? .any : .within(0...458_752)
    scene.expect(
      run.events,
      [
        .status("drive0", .created, .running), .failed("drive0", "read"),
        .status("drive0", .aborting),
        .completed("drive0", len: len, offset: offset, error: "Input/output error"),
        .status("drive0", .concluded, .null),
      ])
  }
}
