import BlockLayer
import BlockTestKit
import DirtyBitmap
import Execution
import Primitives
import SystemPackage
import Testing

@testable import BackupJob

/// The events of §5.6, in order, with their fields; without the pauses of a drain in QEMU.
@Suite struct JobEventTests {
  private func status(_ statuses: JobStatus..., id: String = "drive0") -> [JobEvent] {
    statuses.map { .statusChanged(id: id, status: $0) }
  }

  private func end(_ len: Int, _ offset: Int) -> JobEnd {
    JobEnd(type: "backup", device: "drive0", len: len, offset: offset, speed: 0)
  }

  @Test func aSuccessPassesThroughWaitingAndPending() async throws {
    try await withFixture { fixture in
      _ = try await fixture.jobs.backup(fixture.spec(.full)).wait()
      #expect(
        fixture.jobs.events.take()
          == status(.created, .running, .waiting, .pending)
          + [.completed(end(1 << 20, 1 << 20), error: nil)] + status(.concluded, .null),
        fixture.seed)
    }
  }

  @Test func anEmptyIncrementalEndsLikeAnyOther() async throws {
    try await withFixture { fixture in
      try fixture.sourceNode.addBitmap("b")
      _ = try await fixture.jobs.backup(fixture.spec(.incremental, bitmap: "b")).wait()
      #expect(
        fixture.jobs.events.take()
          == status(.created, .running, .waiting, .pending)
          + [.completed(end(0, 0), error: nil)] + status(.concluded, .null), fixture.seed)
    }
  }

  /// Row M02.
  @Test func aJobThatDoesNotFinalizeItselfSaysThatItWaits() async throws {
    try await withFixture { fixture in
      var spec = fixture.spec(.full)
      spec.autoFinalize = false
      let job = try await fixture.jobs.backup(spec)
      await job.wait(for: [.pending])
      while fixture.jobs.events.events.count < 5 { await fixture.world.yield() }
      #expect(
        fixture.jobs.events.take()
          == status(.created, .running, .waiting, .pending)
          + [.pending(type: "backup", id: "drive0")], fixture.seed)
      #expect(!fixture.isAtRest, "graph and bitmaps change on finalization")
      try await job.finalize()
      #expect(
        fixture.jobs.events.take()
          == [.completed(end(1 << 20, 1 << 20), error: nil)] + status(.concluded, .null),
        fixture.seed)
      let error = await #expect(throws: JobError.self) { try await job.finalize() }
      #expect(error?.code == .wrongState)
    }
  }

  /// Row M03.
  @Test func aJobThatDoesNotDismissItselfStaysConcluded() async throws {
    try await withFixture(seeds: 0..<2) { fixture in
      var spec = fixture.spec(.full)
      spec.autoDismiss = false
      let job = try await fixture.jobs.backup(spec)
      _ = await job.wait()
      #expect(fixture.jobs.events.take().suffix(1) == status(.concluded)[...])
      await #expect(throws: JobError(.identifier, "Job ID 'drive0' already in use")) {
        try await fixture.jobs.backup(fixture.spec(.full))
      }
      #expect(fixture.guest.node === fixture.sourceNode, "the refused job left its filter")
      try job.dismiss()
      #expect(fixture.jobs.events.take() == status(.null))
    }
  }

  @Test func aSourceErrorIsToldBeforeTheJobAborts() async throws {
    try await withFixture { fixture in
      var spec = fixture.spec(.full)
      spec.maxWorkers = 1
      spec.maxChunk = 65536
      let job = try await fixture.jobs.prepareBackup(spec)
      fixture.source.disk.faults = .failing([.read], nth: 4)
      job.start()
      _ = await job.wait()
      #expect(
        fixture.jobs.events.take()
          == status(.created, .running)
          + [.failed(device: "drive0", operation: "read", action: "report")]
          + status(.aborting)
          + [.completed(end(1 << 20, 3 * 65536), error: "Input/output error")]
          + status(.concluded, .null), fixture.seed)
    }
  }

  /// Row M04.
  @Test func aFailureDoesNotWaitToBeFinalized() async throws {
    try await withFixture(seeds: 0..<2) { fixture in
      var spec = fixture.spec(.full)
      spec.maxWorkers = 1
      spec.autoFinalize = false
      spec.autoDismiss = false
      fixture.target.disk.faults = .failing([.write], nth: 1, errno: .noSpace)
      let job = try await fixture.jobs.backup(spec)
      _ = await job.wait()
      #expect(
        fixture.jobs.events.take()
          == status(.created, .running)
          + [.failed(device: "drive0", operation: "write", action: "report")]
          + status(.aborting)
          + [.completed(end(1 << 20, 0), error: "No space left on device")]
          + status(.concluded), fixture.seed)
      #expect(job.info.error == "No space left on device")
      #expect(job.result?.error?.block?.code == .noSpace)
    }
  }

  @Test func aRunningJobThatIsCancelledAborts() async throws {
    try await withFixture { fixture in
      var spec = fixture.spec(.full)
      spec.speed = 1
      spec.maxChunk = 196608
      let job = try await fixture.jobs.backup(spec)
      await fixture.world.sleep(nanoseconds: 50_000_000)
      try job.setSpeed(1)
      try job.cancel()
      _ = await job.wait()
      let last = JobEnd(
        type: "backup", device: "drive0", len: 1 << 20, offset: 196608, speed: 1)
      #expect(
        fixture.jobs.events.take()
          == status(.created, .running, .aborting) + [.cancelled(last)]
          + status(.concluded, .null), fixture.seed)
    }
  }

  @Test func aPausedJobThatIsCancelledRunsBeforeItAborts() async throws {
    try await withFixture { fixture in
      let job = try await fixture.jobs.prepareBackup(fixture.spec(.full))
      try job.pause()
      job.start()
      await job.wait(for: [.paused])
      try job.cancel()
      _ = await job.wait()
      #expect(
        fixture.jobs.events.take()
          == status(.created, .running, .paused, .running, .aborting)
          + [.cancelled(end(1 << 20, 0))] + status(.concluded, .null), fixture.seed)
    }
  }

  @Test func aPendingJobThatIsCancelledAborts() async throws {
    try await withFixture { fixture in
      var spec = fixture.spec(.full)
      spec.autoFinalize = false
      let job = try await fixture.jobs.backup(spec)
      await job.wait(for: [.pending])
      while fixture.jobs.events.events.count < 5 { await fixture.world.yield() }
      _ = fixture.jobs.events.take()
      try job.cancel()
      _ = await job.wait()
      #expect(
        fixture.jobs.events.take()
          == status(.aborting) + [.cancelled(end(1 << 20, 1 << 20))]
          + status(.concluded, .null), fixture.seed)
    }
  }

  /// What a transaction does to its jobs when another action fails.
  @Test func aJobThatNeverStartedTellsNoEnd() async throws {
    try await withFixture { fixture in
      var spec = fixture.spec(.full)
      spec.autoDismiss = false
      let job = try await fixture.jobs.prepareBackup(spec)
      try job.cancel()
      job.start()
      _ = await job.wait()
      #expect(
        fixture.jobs.events.take() == status(.created, .aborting, .concluded, .null),
        fixture.seed)
      #expect(fixture.isAtRest, fixture.seed)
      #expect(fixture.target.writtenClusters.isEmpty)
    }
  }

  /// Row M10.
  @Test func aCreationThatFailsLateIsTakenBack() async throws {
    try await withFixture(seeds: 0..<2) { fixture in
      var spec = fixture.spec(.full)
      spec.speed = -1
      await #expect(throws: JobError.self) { try await fixture.jobs.backup(spec) }
      #expect(fixture.jobs.events.take() == status(.created, .null))
      #expect(fixture.isAtRest)
      spec.speed = 0
      _ = try await fixture.jobs.backup(spec).wait()
    }
  }

  /// Row M06.
  @Test func aPausedJobRestsUntilItIsResumed() async throws {
    try await withFixture { fixture in
      let job = try await fixture.jobs.backup(fixture.spec(.full))
      try job.pause()
      await job.wait(for: [.paused])
      let copied = fixture.target.written.count
      await fixture.world.sleep(nanoseconds: 1_000_000_000)
      #expect(fixture.target.written.count == copied, fixture.seed)
      try job.resume()
      #expect(await job.wait() == .success, fixture.seed)
      #expect(
        fixture.jobs.events.take().prefix(4)
          == status(.created, .running, .paused, .running)[...], fixture.seed)
      #expect(fixture.target.disk.visibleImage == fixture.source.disk.visibleImage)
    }
  }

  @Test func thoseWhoListenHearTheSameInTheSameOrder() async throws {
    try await withFixture(seeds: 0..<2) { fixture in
      let stream = fixture.jobs.events.stream()
      _ = try await fixture.jobs.backup(fixture.spec(.full)).wait()
      var heard: [JobEvent] = []
      for await event in stream {
        heard.append(event)
        if event == .statusChanged(id: "drive0", status: .null) { break }
      }
      #expect(heard == fixture.jobs.events.events)
    }
  }

  @Test func theLogKeepsTheNewestEvents() {
    let log = JobEventLog()
    for number in 0..<3 * JobEventLog.capacity {
      log.append(.pending(type: "backup", id: "\(number)"))
    }
    let events = log.take()
    #expect(events.count == JobEventLog.capacity)
    #expect(events.last == .pending(type: "backup", id: "\(3 * JobEventLog.capacity - 1)"))
    #expect(log.events.isEmpty)
  }
}
