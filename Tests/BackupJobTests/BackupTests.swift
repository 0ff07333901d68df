import BackupJob
import BlockLayer
import BlockTestKit
import DirtyBitmap
import Primitives
import Testing

@Suite struct BackupTests {
  @Test func aFullBackupEqualsTheSource() async throws {
    try await withFixture { fixture in
      let job = try await fixture.jobs.backup(fixture.spec(.full))
      #expect(await job.wait() == .success, fixture.seed)
      #expect(fixture.target.disk.visibleImage == fixture.source.disk.visibleImage, fixture.seed)
      #expect(fixture.isAtRest, fixture.seed)
    }
  }

  /// Row J51: lengths that are no multiple of anything; progress counts whole clusters.
  @Test(arguments: [
    (0, 0), (512, 65536), (65536, 65536), (100352, 131072), (1_000_448, 1_048_576),
  ])
  func everyLengthIsCopiedInEverySyncMode(length: Int, work: Int) async throws {
    for sync in [BackupSpec.Sync.full, .top, .incremental, .bitmap] {
      try await withFixture(seeds: 0..<2, length: length) { fixture in
        var spec = fixture.spec(sync)
        if sync == .incremental || sync == .bitmap {
          try fixture.sourceNode.addBitmap("b")
          try await fixture.guest.write(
            WritePattern.bytes(ByteRange(0, length), write: 2), at: 0)
          spec.bitmap = "b"
          spec.bitmapMode = .onSuccess
        }
        let job = try await fixture.jobs.backup(spec)
        #expect(await job.wait() == .success, fixture.seed)
        #expect(job.progress == JobProgress(current: work, total: work), fixture.seed)
        #expect(fixture.target.disk.visibleImage == fixture.source.disk.visibleImage)
        #expect(fixture.target.length == length)
      }
    }
  }

  /// Row S01.
  @Test func anIncrementalBackupOfNothingCopiesNothing() async throws {
    try await withFixture { fixture in
      try fixture.sourceNode.addBitmap("b")
      let job = try await fixture.jobs.backup(fixture.spec(.incremental, bitmap: "b"))
      #expect(await job.wait() == .success)
      #expect(job.progress == JobProgress(current: 0, total: 0))
      #expect(fixture.target.writtenClusters.isEmpty)
    }
  }

  @Test func anIncrementalBackupCopiesWhatIsDirtyAndStartsAnew() async throws {
    try await withFixture { fixture in
      try fixture.sourceNode.addBitmap("b")
      try await fixture.write(clusters: [1, 2, 9])
      let job = try await fixture.jobs.backup(fixture.spec(.incremental, bitmap: "b"))
      #expect(await job.wait() == .success, fixture.seed)
      #expect(fixture.target.writtenClusters == [1, 2, 9], fixture.seed)
      #expect(try fixture.sourceNode.dirtyClusters("b") == [], fixture.seed)
      try await fixture.write(clusters: [4], number: 3)
      #expect(try fixture.sourceNode.dirtyClusters("b") == [4], fixture.seed)
      #expect(fixture.isAtRest, fixture.seed)
    }
  }

  /// Row J34: the copy cluster is the target's, but at least 64 KiB.
  @Test(arguments: [(512, 196608), (65536, 196608), (2 << 20, 3 * (2 << 20))])
  func wholeClustersOfTheTargetAreCopied(clusterSize: Int, work: Int) async throws {
    try await withFixture(seeds: 0..<2, length: 8 << 20, targetClusterSize: clusterSize) {
      fixture in
      try fixture.sourceNode.addBitmap("b", granularity: 512)
      for (offset, count) in [(1000 << 10, 1 << 10), (4095 << 10, 2 << 10)] {
        try await fixture.guest.fill(0x41, at: offset, count: count)
      }
      let job = try await fixture.jobs.backup(fixture.spec(.incremental, bitmap: "b"))
      #expect(await job.wait() == .success)
      #expect(job.progress == JobProgress(current: work, total: work))
      let copied = fixture.target.written + fixture.target.zeroed
      #expect(copied.reduce(0) { $0 + $1.count } == work)
    }
  }

  /// Row J34's last: the bitmap's granularity decides when it is the larger.
  @Test func aCoarseBitmapIsCopiedAsItIs() async throws {
    try await withFixture(seeds: 0..<2, length: 8 << 20) { fixture in
      try fixture.sourceNode.addBitmap("b", granularity: 1 << 20)
      for (offset, count) in [(1000 << 10, 1 << 10), (4095 << 10, 2 << 10)] {
        try await fixture.guest.fill(0x41, at: offset, count: count)
      }
      let job = try await fixture.jobs.backup(fixture.spec(.incremental, bitmap: "b"))
      #expect(await job.wait() == .success)
      #expect(job.progress.total == 3_145_728)
    }
  }

  @Test func zerosAreNotCopiedAsData() async throws {
    try await simulate(seeds: 0..<3) { world in
      let fixture = try BackupFixture(world, length: 64 << 20, isEmpty: true)
      try await fixture.guest.fill(0x41, at: 5 << 20, count: 4096)
      let job = try await fixture.jobs.backup(fixture.spec(.full))
      #expect(await job.wait() == .success)
      #expect(fixture.target.written == [ByteRange(offset: 5 << 20, count: 65536)], fixture.seed)
      // 64 MiB of zeros in a handful of requests, not a thousand.
      #expect(fixture.target.zeroed.count < 40, fixture.seed)
      #expect(fixture.target.disk.visibleImage == fixture.source.disk.visibleImage)
      #expect(job.progress.total == 64 << 20)
    }
  }

  @Test func theTargetIsDurableWhenTheJobIsDone() async throws {
    try await withFixture { fixture in
      let job = try await fixture.jobs.backup(fixture.spec(.full))
      #expect(await job.wait() == .success)
      #expect(fixture.target.disk.durableImage == fixture.source.disk.visibleImage, fixture.seed)
    }
  }

  /// Row J38, and J37 for two layers.
  @Test func syncTopCopiesWhatTheTopLayerHas() async throws {
    try await simulate(seeds: 0..<6) { world in
      let fixture = try LayeredFixture(world)
      let spec = BackupSpec(source: .node(fixture.top), target: "t", sync: .top, jobID: "j")
      let job = try await fixture.base.jobs.backup(spec)
      #expect(await job.wait() == .success)
      #expect(fixture.base.target.writtenClusters == Array(4..<12), fixture.base.seed)
    }
  }

  @Test func twoBackupsOfOneDiskStackTheirFilters() async throws {
    try await withFixture(seeds: 0..<10) { fixture in
      let (second, _) = try fixture.addTarget("u")
      let before = fixture.source.disk.visibleImage
      var one = fixture.spec(.full)
      one.jobID = "one"
      var two = one
      two.jobID = "two"
      two.source = "n0"
      two.target = "u"
      let jobs = [try await fixture.jobs.backup(one), try await fixture.jobs.backup(two)]
      try await fixture.write(clusters: Array(0..<16))
      for job in jobs { #expect(await job.wait() == .success, fixture.seed) }
      #expect(fixture.target.disk.visibleImage == before, fixture.seed)
      #expect(second.disk.visibleImage == before, fixture.seed)
      #expect(fixture.isAtRest, fixture.seed)
    }
  }

  /// Row J49.
  @Test func theFilterHasTheNameItIsGiven() async throws {
    try await withFixture(seeds: 0..<1) { fixture in
      var spec = fixture.spec(.full)
      spec.filterNodeName = "guard"
      let job = try await fixture.jobs.prepareBackup(spec)
      #expect(fixture.guest.node.name == "guard")
      #expect(fixture.guest.node.driver.driverName == "copy-before-write")
      job.start()
      _ = await job.wait()
      #expect(throws: BlockError.self) { try fixture.graph.node(named: "guard") }
    }
  }
}
