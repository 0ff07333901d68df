import BackupJob
import BlockLayer
import BlockTestKit
import DirtyBitmap
import Execution
import Primitives
import Testing

/// The engine by itself.
@Suite struct CopyEngineTests {
  private func makeEngine(
    _ fixture: BackupFixture, clusterSize: Int = 65536
  ) throws -> CopyEngine {
    try CopyEngine(
      source: BlockEdge(.file, to: fixture.sourceNode),
      target: BlockEdge(.target, to: fixture.targetNode), clusterSize: clusterSize)
  }

  @Test func theCopyClusterIsTheTargetsButAtLeast64KiB() async throws {
    try await simulate(seeds: 0..<1) { world in
      for (clusterSize, expected) in [(0, 65536), (512, 65536), (65536, 65536), (2 << 20, 2 << 20)]
      {
        let fixture = try BackupFixture(world, length: 0, targetClusterSize: clusterSize)
        #expect(CopyEngine.clusterSize(for: fixture.targetNode) == expected)
      }
    }
  }

  @Test func eachClusterIsClaimedOnceAndAgainAfterAFailure() async throws {
    try await withFixture(seeds: 0..<1) { fixture in
      let engine = try makeEngine(fixture)
      engine.markAll()
      var buffer = IOBuffer(byteCount: engine.bufferByteCount())
      guard case .task(let first) = engine.claimNext(maxLength: 3 * 65536),
        case .task(let second) = engine.claimNext(maxLength: .max)
      else { return #expect(Bool(false), "there was nothing to claim") }
      #expect(first.range == ByteRange(0, 3 * 65536))
      #expect(second.range == ByteRange(3 * 65536, 1 << 20))
      #expect(engine.progress == CopyProgress(completed: 0, remaining: 1 << 20))
      guard case .busy = engine.claimNext(maxLength: .max) else {
        return #expect(Bool(false), "two copies were under way")
      }
      fixture.source.disk.faults = FaultPlan([
        .init([.read], in: ByteRange(65536, 65537))
      ])
      let error = await #expect(throws: CopyFailure.self) {
        try await engine.copy(first, through: &buffer)
      }
      #expect(error?.operation == .read)
      #expect(engine.pendingRuns() == [ByteRange(0, 3 * 65536)])
      try await engine.copy(second, through: &buffer)
      #expect(engine.progress == CopyProgress(completed: 13 * 65536, remaining: 3 * 65536))
      while case .task(let task) = engine.claimNext(maxLength: .max) {
        try await engine.copy(task, through: &buffer)
      }
      guard case .done = engine.claimNext(maxLength: .max) else {
        return #expect(Bool(false), "all was copied")
      }
      #expect(fixture.target.disk.visibleImage == fixture.source.disk.visibleImage)
    }
  }

  @Test func thePartOfATaskThatWasCopiedStaysCopied() async throws {
    try await simulate(seeds: 0..<1) { world in
      let fixture = try BackupFixture(world, isEmpty: true)
      for cluster in [0, 1, 4, 5] {
        try await fixture.guest.fill(1, at: cluster * 65536, count: 65536)
      }
      let engine = try makeEngine(fixture)
      engine.markAll()
      var buffer = IOBuffer(byteCount: engine.bufferByteCount())
      fixture.target.disk.faults = .failing([.write], nth: 2)
      guard case .task(let task) = engine.claimNext(maxLength: .max) else { return }
      _ = await #expect(throws: CopyFailure.self) {
        try await engine.copy(task, through: &buffer)
      }
      #expect(engine.pendingRuns() == [ByteRange(4 * 65536, 1 << 20)])
      #expect(engine.progress == CopyProgress(completed: 4 * 65536, remaining: 12 * 65536))
    }
  }

  @Test func aRunOfZerosTakesInWhatFollows() async throws {
    try await simulate(seeds: 0..<1) { world in
      let fixture = try BackupFixture(world, length: 8 << 20, isEmpty: true)
      try await fixture.guest.fill(1, at: 6 << 20, count: 512)
      let engine = try makeEngine(fixture)
      engine.markAll()
      engine.unmark(ByteRange(offset: 5 << 20, count: 65536))
      var buffer = IOBuffer(byteCount: engine.bufferByteCount())
      guard case .task(let task) = engine.claimNext(maxLength: 65536) else { return }
      try await engine.copy(task, through: &buffer)
      #expect(fixture.target.zeroed == [ByteRange(0, 5 << 20)], "as far as it is to be copied")
      guard case .task(let next) = engine.claimNext(maxLength: 65536) else { return }
      #expect(next.range == ByteRange(offset: (5 << 20) + 65536, count: 65536))
      try await engine.copy(next, through: &buffer, zeroLimit: 0)
      #expect(fixture.target.zeroed.last?.count == 65536, "or as far as it may")
      guard case .task(let last) = engine.claimNext(maxLength: 65536) else { return }
      try await engine.copy(last, through: &buffer)
      #expect(fixture.target.zeroed.last?.upper == 6 << 20, "or as far as there are zeros")
    }
  }

  @Test func zerosThatTheTargetHasAreSparedOnlyWhenAllIsCopied() async throws {
    for sync in [BackupSpec.Sync.full, .incremental] {
      try await simulate(seeds: 0..<1) { world in
        let fixture = try BackupFixture(
          world, length: 8 << 20, isEmpty: true, targetTellsZeros: true)
        let bitmap = try fixture.sourceNode.addBitmap("b")
        bitmap.record(ByteRange(0, 8 << 20))
        try await fixture.guest.fill(1, at: 6 << 20, count: 512)
        let spec = fixture.spec(sync, bitmap: sync == .full ? nil : "b")
        let job = try await fixture.jobs.backup(spec)
        #expect(await job.wait() == .success)
        #expect(fixture.target.disk.visibleImage == fixture.source.disk.visibleImage)
        let zeroed = fixture.target.zeroed.reduce(0) { $0 + $1.count }
        // What is put on top of another image has to hide it.
        #expect(zeroed == (sync == .full ? 0 : (8 << 20) - 65536), "\(sync)")
      }
    }
  }

  @Test func zerosThatTheTargetDoesNotHaveAreWritten() async throws {
    try await simulate(seeds: 0..<1) { world in
      let fixture = try BackupFixture(
        world, length: 1 << 20, isEmpty: true, targetTellsZeros: true)
      // Something else is there; and what shows through from below is not the target's own.
      try await fixture.targetNode.write(
        ByteRange(0, 65536), from: [UInt8](repeating: 7, count: 65536).span.bytes)
      let (overlay, node) = try fixture.addTarget("u", backing: fixture.sourceNode)
      for (target, disk) in [(fixture.targetNode, fixture.target), (node, overlay)] {
        let engine = try CopyEngine(
          source: BlockEdge(.file, to: fixture.sourceNode),
          target: BlockEdge(.target, to: target), clusterSize: 65536)
        engine.markAll()
        var buffer = IOBuffer(byteCount: engine.bufferByteCount())
        while case .task(let task) = engine.claimNext(maxLength: .max) {
          try await engine.copy(task, through: &buffer, sparesZeros: true)
        }
        #expect(disk.zeroed == [ByteRange(0, 1 << 20)])
        #expect(disk.disk.visibleImage == fixture.source.disk.visibleImage)
      }
    }
  }

  /// A guest that wants to overwrite what is being copied waits for it, and for nothing else.
  @Test func aGuestWaitsForTheCopyOfItsClusters() async throws {
    try await withFixture(seeds: 0..<20) { fixture in
      let engine = try makeEngine(fixture)
      engine.markAll()
      guard case .task(let task) = engine.claimNext(maxLength: 4 * 65536) else { return }
      let order = Recorder()
      let waiting = fixture.world.spawn {
        try? await engine.copyBeforeWrite(ByteRange(3 * 65536 + 1, 5 * 65536 + 1))
        order.add("guest")
      }
      try await engine.copyBeforeWrite(ByteRange(8 * 65536, 8 * 65536 + 1))
      for _ in 0..<100 { await fixture.world.yield() }
      order.add("copied")
      var buffer = IOBuffer(byteCount: engine.bufferByteCount())
      try await engine.copy(task, through: &buffer)
      await waiting.wait()
      #expect(order.all == ["copied", "guest"], fixture.seed)
      #expect(fixture.target.writtenClusters == [0, 1, 2, 3, 4, 5, 8], fixture.seed)
    }
  }

  @Test func aTaskIsOneClusterAtLeast() async throws {
    try await withFixture(seeds: 0..<1) { fixture in
      let engine = try makeEngine(fixture)
      engine.markAll()
      guard case .task(let task) = engine.claimNext(maxLength: 1) else { return }
      #expect(task.range.count == 65536)
    }
  }

  /// H4: too many clusters for a bitmap is an error.
  @Test func aDiskWithTooManyClustersIsRefused() async throws {
    try await simulate(seeds: 0..<1) { world in
      let fixture = try BackupFixture(world, length: 1 << 62, isEmpty: true)
      #expect(throws: BlockError.self) { try makeEngine(fixture) }
      await #expect(throws: JobError.self) { try await fixture.jobs.backup(fixture.spec(.full)) }
      #expect(fixture.isAtRest)
    }
  }
}
