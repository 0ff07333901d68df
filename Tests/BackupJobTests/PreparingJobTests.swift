import BlockLayer
import BlockTestKit
import DirtyBitmap
import Execution
import Primitives
import Testing

@testable import BackupJob

/// Commands to a job that has its name and is not in place yet: its moment waits for a request.
@Suite struct PreparingJobTests {
  /// Runs `user` with the job as soon as it is known, while a guest's long request holds up its
  /// moment; what the job's maker got.
  private func prepare(
    _ fixture: BackupFixture, started: Bool,
    _ user: @escaping @Sendable (Job) async throws -> Void
  ) async throws -> Result<Job, JobError> {
    let guest = fixture.world.spawn { _ = try? await fixture.guest.read(at: 0, count: 1 << 20) }
    let watcher = fixture.world.spawn {
      for _ in 0..<10_000 where fixture.jobs.jobs.isEmpty { await fixture.world.yield() }
      guard let job = fixture.jobs.jobs.first else {
        Issue.record("nobody saw the job")
        return
      }
      #expect(job.status == .created)
      do { try await user(job) } catch { Issue.record(error) }
    }
    for _ in 0..<20 { await fixture.world.yield() }
    let spec = fixture.spec(.incremental, bitmap: "b")
    let result: Result<Job, JobError>
    do throws(JobError) {
      result = .success(
        started
          ? try await fixture.jobs.backup(spec) : try await fixture.jobs.prepareBackup(spec))
    } catch {
      result = .failure(error)
    }
    await watcher.wait()
    await guest.wait()
    return result
  }

  @Test(arguments: [true, false]) func aJobCancelledThenEndsUnstarted(started: Bool) async throws {
    try await withFixture { fixture in
      try fixture.sourceNode.addBitmap("b")
      try await fixture.write(clusters: [1])
      let result = try await prepare(fixture, started: started) { job in
        job.start()  // not before it is in place
        try job.cancel()
        #expect(await job.wait() == .cancelled)
      }
      #expect(try await result.get().wait() == .cancelled)
      #expect(
        fixture.jobs.events.take()
          == [.created, .aborting, .concluded, .null].map {
            .statusChanged(id: "drive0", status: $0)
          }, fixture.seed)
      #expect(try fixture.sourceNode.dirtyClusters("b") == [1])
      #expect(fixture.isAtRest && fixture.target.written.isEmpty, fixture.seed)
    }
  }

  /// The bitmap is taken while the job waits for its moment.
  @Test(arguments: [true, false]) func aJobThatIsRefusedThenTellsThoseWhoWait(
    cancels: Bool
  ) async throws {
    try await withFixture { fixture in
      let bitmap = try fixture.sourceNode.addBitmap("b")
      let result = try await prepare(fixture, started: true) { job in
        try bitmap.setBusy(true)
        if cancels { try job.cancel() }
        #expect(await job.wait().error != nil)
        #expect(job.status == .null)
      }
      #expect(throws: JobError.self) { try result.get() }
      #expect(
        fixture.jobs.events.take()
          == [.created, .null].map { .statusChanged(id: "drive0", status: $0) })
      try bitmap.setBusy(false)
      #expect(fixture.isAtRest, fixture.seed)
    }
  }

  /// However a resize falls into it, the two disks of a job have one length.
  @Test(arguments: [true, false]) func aDiskThatIsResizedThenHasNoBackup(
    isTarget: Bool
  ) async throws {
    var refusals = 0
    for seed: UInt64 in 0..<20 {
      let world = World.simulated(seed: seed)
      refusals += try await world.run {
        let graph = BlockGraph(world: world, registry: DriverRegistry())
        let jobs = JobRegistry(graph: graph)
        let source = try graph.addNode(SlowDisk(world), name: "n0")
        let target = try graph.addNode(SlowDisk(world), name: "t")
        let guest = try BlockBackend(source, in: graph, name: "drive0")
        let reading = world.spawn { _ = try? await guest.read(at: 0, count: 512) }
        let resizing = world.spawn {
          for _ in 0..<1000 where jobs.jobs.isEmpty { await world.yield() }
          if isTarget {
            try? await target.resize(to: 8192)
          } else {
            try? await guest.resize(to: 8192)
          }
        }
        await world.yield()
        var refusal: JobError?
        do throws(JobError) {
          let job = try await jobs.backup(BackupSpec(source: "drive0", target: "t", sync: .full))
          #expect(source.length == target.length, "seed \(seed)")
          _ = await job.wait()
        } catch {
          refusal = error
        }
        await resizing.wait()
        await reading.wait()
        #expect(jobs.jobs.isEmpty && target.parentEdges.isEmpty, "seed \(seed)")
        return refusal?.message == "Source and target image have different sizes" ? 1 : 0
      }
    }
    #expect(refusals > 0, "no resize came at the moment that counts")
  }

  /// A job that nobody can know any more keeps nothing.
  @Test func aRefusedNameKeepsNothing() async throws {
    weak var node: BlockNode?
    let world = World.simulated(seed: 1)
    node = try await world.run {
      let fixture = try BackupFixture(world)
      let (_, target) = try fixture.addTarget("u")
      var spec = fixture.spec(.full)
      spec.target = .node(target)
      spec.jobID = "1"
      await #expect(throws: JobError(.identifier, "Invalid job ID '1'")) {
        try await fixture.jobs.backup(spec)
      }
      try await fixture.graph.close(target)
      return Held(target)
    }.node
    #expect(node == nil)
  }

  /// What leaves the World weakly.
  private struct Held: Sendable {
    weak let node: BlockNode?
    init(_ node: BlockNode) { self.node = node }
  }
}

/// A disk that takes its time to read, and none to get another length.
private final class SlowDisk: BlockDriver, ResizableImage {
  private let disk: SimulatedDisk

  init(_ world: World) {
    disk = SimulatedDisk(SparseImage(length: 4096), in: world, schedulingPoints: false)
  }

  var driverName: String { "slow" }
  var length: Int { disk.length }

  func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError) {
    for _ in 0..<50 { await disk.world.yield() }
    try await disk.read(range, into: &buffer)
  }

  func write(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    try await disk.write(range, from: bytes)
  }

  func writeZeroes(_ range: ByteRange, mayUnmap: Bool) async throws(BlockError) {
    try await disk.writeZeroes(range, mayUnmap: mayUnmap)
  }

  func discard(_ range: ByteRange) async throws(BlockError) { try await disk.discard(range) }
  func sync() async throws(BlockError) { try await disk.sync() }
  func status(_ range: ByteRange) async throws(BlockError) -> BlockStatus {
    try await disk.status(range)
  }
  func resize(to length: Int) async throws(BlockError) { try await disk.resize(to: length) }
}
