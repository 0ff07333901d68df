import BlockTestKit
import Execution
import Testing

@testable import BackupJob

@Suite struct RateLimitTests {
  private func at(_ milliseconds: UInt64) -> WorldInstant {
    WorldInstant(nanoseconds: milliseconds * 1_000_000)
  }

  @Test func withoutALimitNothingWaits() {
    var limit = RateLimit()
    limit.charge(1 << 40, at: at(0))
    #expect(limit.delay(at: at(0), speed: 0) == 0)
  }

  @Test func theQuotaOfASliceIsLetThrough() {
    var limit = RateLimit()
    for _ in 0..<10 {
      #expect(limit.delay(at: at(3), speed: 1000) == 0)
      limit.charge(10, at: at(3))
    }
    #expect(limit.delay(at: at(5), speed: 1000) == 98_000_000)
    #expect(limit.delay(at: at(103), speed: 1000) == 0)
  }

  @Test func aLongChunkUsesUpSlicesToCome() {
    var limit = RateLimit()
    limit.charge(1000, at: at(0))
    #expect(limit.delay(at: at(0), speed: 1000) == 1_000_000_000)
    #expect(limit.delay(at: at(400), speed: 2000) == 100_000_000, "a new limit counts at once")
    #expect(limit.delay(at: at(400), speed: 0) == 0)
    #expect(limit.delay(at: at(400), speed: 1000) == 0, "no limit forgets")
  }

  @Test func theSlowestSpeedDoesNotOverflow() {
    var limit = RateLimit()
    limit.charge(.max, at: at(0))
    limit.charge(.max, at: at(0))
    #expect(limit.delay(at: at(1), speed: 1) > 1 << 62)
  }

  /// 1 MiB at 256 KiB a second in chunks of 64 KiB: about four seconds, the first chunk at once.
  @Test func aJobKeepsToItsSpeed() async throws {
    try await withFixture(seeds: 0..<4) { fixture in
      var spec = fixture.spec(.full)
      spec.speed = 256 << 10
      spec.maxChunk = 65536
      let start = fixture.world.now
      let job = try await fixture.jobs.backup(spec)
      #expect(await job.wait() == .success)
      let milliseconds = fixture.world.now.nanoseconds(since: start) / 1_000_000
      #expect((3500...4600).contains(milliseconds), "\(milliseconds) ms, \(fixture.seed)")
    }
  }

  /// Row M07.
  @Test func theSpeedOfAPausedJobCanBeChanged() async throws {
    try await withFixture(seeds: 0..<2) { fixture in
      var spec = fixture.spec(.full)
      spec.speed = 1
      let job = try await fixture.jobs.backup(spec)
      try job.pause()
      await job.wait(for: [.paused])
      try job.setSpeed(0)
      try job.resume()
      let start = fixture.world.now
      #expect(await job.wait() == .success)
      #expect(fixture.world.now.nanoseconds(since: start) < 1_000_000_000)
    }
  }
}
