import LaminaTestKit
import Testing

/// A lab in which a scenario is played, with or without guests that go on while jobs run.
struct Scene: Sendable {
  let lab: BackupLab
  /// Whether guests go on while jobs run: figures come from their model then.
  let hasGuest: Bool

  /// The seed, for the comment of an expectation.
  var seed: Comment { "seed \(lab.world.seed)" }

  /// A guest on `disk` from now on, if the scene has guests.
  func guest(
    on disk: LabDisk, mix: OperationSequence.Mix = .init()
  ) -> GuestWorkload? {
    hasGuest ? GuestWorkload(on: disk, mix: mix) : nil
  }

  /// Expects a backup that succeeded and sent the events of one; `work` is what it copies when no
  /// guest is there.
  func expectSuccess(_ run: BackupRun, work: Int) {
    #expect(run.result == .success, seed)
    #expect(run.job.status == .null, seed)
    expect(run.events, [.backup(run.job.id, work: hasGuest ? run.work : .exactly(work))])
    if !hasGuest {
      #expect(run.job.progress == JobProgress(current: work, total: work))
    }
  }

  /// Expects the events of a script.
  func expect(_ events: [JobEvent], _ script: EventScript) {
    let difference = script.difference(from: events)
    #expect(difference == nil, "seed \(lab.world.seed): \(difference?.description ?? "")")
  }

  /// Expects a bitmap that is used by nobody, with so many dirty bytes when no guest is there, and
  /// just what the guest has dirtied since the last backup otherwise.
  func expectBitmap(_ series: BackupSeries, count: Int) async throws {
    try await series.checkBitmap()
    let info = series.bitmap.info
    #expect(info.status == .active, seed)
    #expect(info.isRecording && !info.isBusy, seed)
    if !hasGuest { #expect(info.count == count) }
  }

  /// Ends the guests; a last increment of each series then makes up for what they wrote, and every
  /// backup of every chain is checked.
  func end(_ guests: [GuestWorkload?], _ series: [BackupSeries]) async throws {
    for guest in guests { try await guest?.stop() }
    if hasGuest {
      for series in series { #expect(try await series.backup().result == .success, seed) }
    }
    if !hasGuest { #expect(series.flatMap(\.backups).allSatisfy { $0.reference != nil }) }
    try await lab.checkBackups()
  }
}
