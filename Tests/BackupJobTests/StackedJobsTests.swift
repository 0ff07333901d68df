import BackupJob
import BlockLayer
import BlockTestKit
import DirtyBitmap
import Execution
import Primitives
import Testing

/// Two jobs on one disk: each filter comes and goes while the other job reads through it.
@Suite struct StackedJobsTests {
  @Test func theEndOfOneJobIsNothingToAnother() async throws {
    try await simulate(seeds: 0..<60) { world in
      let fixture = try LayeredFixture(world)
      let (other, _) = try fixture.base.addTarget("t2")
      let before = try await contents(fixture)
      var long = BackupSpec(source: "drive1", target: "t", sync: .full, jobID: "long")
      long.maxWorkers = 2
      long.maxChunk = 65536
      let first = try await fixture.base.jobs.backup(long)
      // The second filter goes in below the first: the first job reads through it.
      var short = BackupSpec(source: "top", target: "t2", sync: .full, jobID: "short")
      short.maxWorkers = 8
      short.maxChunk = 65536
      let second = try await fixture.base.jobs.backup(short)
      #expect(await second.wait() == .success, fixture.base.seed)
      #expect(await first.wait() == .success, fixture.base.seed)
      #expect(fixture.base.target.disk.visibleImage == before, fixture.base.seed)
      #expect(other.disk.visibleImage == before, fixture.base.seed)
      #expect(fixture.guest.node === fixture.top && fixture.base.jobs.jobs.isEmpty)
    }
  }

  /// The second job ends at any moment of the first one's walk over what only the base has.
  @Test func aFilterThatGoesIsNotMistakenForADisk() async throws {
    try await simulate(seeds: 0..<100) { world in
      let fixture = try LayeredFixture(world)
      _ = try fixture.base.addTarget("t2")
      let before = try await contents(fixture)
      var spec = BackupSpec(source: "drive1", target: "t", sync: .full, jobID: "first")
      spec.maxWorkers = 3
      spec.maxChunk = 65536
      let first = try await fixture.base.jobs.prepareBackup(spec)
      let second = try await fixture.base.jobs.prepareBackup(
        BackupSpec(source: "top", target: "t2", sync: .none, jobID: "second"))
      first.start()
      for _ in 0..<world.seed { await world.yield() }
      try second.cancel()
      #expect(await second.wait() == .cancelled, fixture.base.seed)
      #expect(await first.wait() == .success, fixture.base.seed)
      #expect(fixture.base.target.disk.visibleImage == before, fixture.base.seed)
    }
  }

  private func contents(_ fixture: LayeredFixture) async throws -> SparseImage {
    SparseImage(try await fixture.guest.read(at: 0, count: fixture.guest.length))
  }
}
