import BackupJob
import BlockLayer
import BlockTestKit
import DirtyBitmap
import Execution
import Primitives
import SystemPackage
import Testing

/// Disks that fail under a backup.
@Suite struct BackupFailureTests {
  /// Row S13: the first run fails, the guest goes on, and the next has all that is missing.
  @Test func aFailedIncrementalIsMadeUpForByTheNext() async throws {
    try await withFixture(seeds: 0..<10) { fixture in
      try fixture.sourceNode.addBitmap("b")
      try await fixture.write(clusters: [1, 2, 9])
      fixture.source.disk.faults = .failing([.read], nth: 1)
      let first = try await fixture.jobs.backup(fixture.spec(.incremental, bitmap: "b"))
      try await fixture.write(clusters: [4], number: 3)
      #expect(await first.wait().error?.message == "Input/output error", fixture.seed)
      #expect(try fixture.sourceNode.dirtyClusters("b") == [1, 2, 4, 9], fixture.seed)
      #expect(fixture.isAtRest, fixture.seed)
      try await fixture.write(clusters: [5], number: 4)
      let second = try await fixture.jobs.backup(fixture.spec(.incremental, bitmap: "b"))
      #expect(await second.wait() == .success, fixture.seed)
      for cluster in [1, 2, 4, 5, 9] {
        let range = ByteRange(offset: cluster * 65536, count: 65536)
        #expect(
          fixture.target.disk.visibleImage.bytes(range)
            == fixture.source.disk.visibleImage.bytes(range), "cluster \(cluster)")
      }
      #expect(try fixture.sourceNode.dirtyClusters("b") == [], fixture.seed)
    }
  }

  /// One failure ends all workers; each one's failure is told.
  @Test func aBrokenTargetEndsTheJob() async throws {
    try await withFixture(seeds: 0..<10, length: 8 << 20) { fixture in
      fixture.target.disk.faults = .failing([.write, .writeZeroes], nth: 3, times: .max)
      let job = try await fixture.jobs.backup(fixture.spec(.full))
      let result = await job.wait()
      #expect(result.error?.block?.code == .io, fixture.seed)
      let errors = fixture.jobs.events.take().filter { event in
        if case .failed(let device, let operation, let action) = event {
          return device == "drive0" && operation == "write" && action == "report"
        }
        return false
      }
      #expect((1...8).contains(errors.count), fixture.seed)
      #expect(job.progress.current == 2 << 20, fixture.seed)
      #expect(job.progress.total == 8 << 20, fixture.seed)
      #expect(fixture.isAtRest, fixture.seed)
    }
  }

  /// The guest's write fails and nothing is written; the job goes on, and the guest may try again.
  @Test func aGuestsWriteFailsWhenItsOldDataCannotBeSaved() async throws {
    try await withFixture(seeds: 0..<10) { fixture in
      let before = fixture.source.disk.visibleImage
      let bitmap = try fixture.sourceNode.addBitmap("b")
      let job = try await fixture.jobs.prepareBackup(
        fixture.spec(.full, bitmap: "b", mode: .onSuccess))
      fixture.target.disk.faults = .failing([.write], nth: 1, errno: .noSpace)
      let error = await #expect(throws: BlockError.self) {
        try await fixture.write(clusters: [3])
      }
      #expect(error?.errno == .noSpace, fixture.seed)
      #expect(fixture.source.disk.visibleImage == before, fixture.seed)
      job.start()
      #expect(await job.wait() == .success, fixture.seed)
      #expect(fixture.target.disk.visibleImage == before, fixture.seed)
      #expect(bitmap.withBits { $0.isEmpty }, "what was not written is not dirty")
      try await fixture.write(clusters: [3])
    }
  }

  /// A cluster whose copy failed behind the walk is copied in the end.
  @Test func whatAGuestCouldNotSaveIsCopiedByTheJob() async throws {
    try await withFixture(seeds: 0..<20) { fixture in
      let before = fixture.source.disk.visibleImage
      var spec = fixture.spec(.full)
      spec.maxWorkers = 1
      spec.maxChunk = 65536
      spec.speed = 10 * 65536
      let job = try await fixture.jobs.backup(spec)
      await fixture.world.sleep(nanoseconds: 250_000_000)
      fixture.target.disk.faults = .failing([.write], nth: 1)
      await #expect(throws: BlockError.self) { try await fixture.write(clusters: [12]) }
      #expect(await job.wait() == .success, fixture.seed)
      #expect(fixture.target.disk.visibleImage == before, fixture.seed)
    }
  }

  @Test func aTargetThatCannotBeMadeDurableFailsTheJob() async throws {
    try await withFixture { fixture in
      try fixture.sourceNode.addBitmap("b")
      try await fixture.write(clusters: [1])
      fixture.target.disk.faults = .failing([.sync], nth: 1)
      let job = try await fixture.jobs.backup(fixture.spec(.incremental, bitmap: "b"))
      #expect(await job.wait().error?.message == "Input/output error", fixture.seed)
      #expect(try fixture.sourceNode.dirtyClusters("b") == [1], fixture.seed)
      #expect(
        fixture.jobs.events.take().contains(
          .failed(device: "drive0", operation: "write", action: "report")), fixture.seed)
    }
  }

  /// Faults anywhere, guests writing, jobs tried again: the bitmap loses nothing.
  @Test func noChangeIsLostWhateverFails() async throws {
    try await withFixture(seeds: 0..<20) { fixture in
      try fixture.sourceNode.addBitmap("b")
      let full = try await fixture.jobs.backup(
        fixture.spec(.full, bitmap: "b", mode: .onSuccess))
      #expect(await full.wait() == .success)
      var random = fixture.world.makeRandom("faults")
      for round in 0..<6 {
        let guest = fixture.world.spawn {
          var random = fixture.world.makeRandom("guest \(round)")
          for number in 0..<8 {
            let cluster = Int.random(in: 0..<16, using: &random)
            try? await fixture.write(clusters: [cluster], number: 100 + 10 * round + number)
          }
        }
        // Reads for the guest's own copies fail, too: its write fails then.
        fixture.source.disk.faults = .failing([.read], nth: Int.random(in: 1...12, using: &random))
        fixture.target.disk.faults = .failing(
          [.write], nth: Int.random(in: 1...12, using: &random))
        let job = try await fixture.jobs.backup(fixture.spec(.incremental, bitmap: "b"))
        if Int.random(in: 0..<4, using: &random) == 0 { try? job.cancel() }
        _ = await job.wait()
        await guest.wait()
      }
      fixture.source.disk.faults = .none
      fixture.target.disk.faults = .none
      let last = try await fixture.jobs.backup(fixture.spec(.incremental, bitmap: "b"))
      #expect(await last.wait() == .success)
      #expect(fixture.target.disk.visibleImage == fixture.source.disk.visibleImage, fixture.seed)
      #expect(fixture.isAtRest, fixture.seed)
    }
  }

  @Test func theEndOfASessionEndsItsJobs() async throws {
    try await withFixture(seeds: 0..<3) { fixture in
      _ = try fixture.addTarget("u")
      _ = try await fixture.jobs.backup(fixture.spec(.none))
      var spec = fixture.spec(.full)
      spec.source = "n0"
      spec.target = "u"
      spec.jobID = "other"
      spec.autoFinalize = false
      let other = try await fixture.jobs.backup(spec)
      await other.wait(for: [.pending])
      await fixture.jobs.cancelAll()
      #expect(fixture.isAtRest, fixture.seed)
      #expect(other.result == .cancelled)
    }
  }
}
