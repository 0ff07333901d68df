import BackupJob
import BlockLayer
import BlockTestKit
import DirtyBitmap
import Execution
import Primitives
import Synchronization
import Testing

/// A guest that does not stop for backups.
@Suite struct GuestDuringBackupTests {
  /// What the disk was after each of a guest's requests.
  final class History: Sendable {
    struct Entry: Sendable {
      var image: SparseImage
      var operation: GuestOperation?
    }
    private let entries: Mutex<[Entry]>

    init(_ image: SparseImage) {
      entries = Mutex([Entry(image: image, operation: nil)])
    }

    func add(_ operation: GuestOperation, _ image: SparseImage) {
      entries.withLock { $0.append(Entry(image: image, operation: operation)) }
    }

    var all: [Entry] { entries.withLock { $0 } }
  }

  /// Works through `count` seeded requests, one after the other.
  private func guestTask(
    _ fixture: BackupFixture, _ history: History, count: Int, label: String
  ) -> WorldTask {
    fixture.world.spawn {
      let shape = OperationSequence.Shape(length: fixture.guest.length, cluster: 65536)
      let operations = OperationSequence(
        count: count, shape: shape, random: fixture.world.makeRandom(label), firstWrite: 100)
      for operation in operations {
        do {
          try await fixture.guest.perform(operation)
        } catch {
          Issue.record("\(operation): \(error), seed \(fixture.world.seed)")
        }
        history.add(operation, fixture.source.disk.visibleImage)
      }
    }
  }

  /// The target is the source at one moment, the bitmap has exactly what was written after it, and
  /// what was dirty is what was written before.
  @Test func aFullBackupIsTheDiskAtOneMoment() async throws {
    try await withFixture(seeds: 0..<20) { fixture in
      let bitmap = try fixture.sourceNode.addBitmap("b", granularity: 512)
      let history = History(fixture.source.disk.visibleImage)
      let guest = guestTask(fixture, history, count: 60, label: "guest")
      for _ in 0..<40 { await fixture.world.yield() }
      let job = try await fixture.jobs.backup(
        fixture.spec(.full, bitmap: "b", mode: .onSuccess))
      #expect(await job.wait() == .success, fixture.seed)
      await guest.wait()
      let target = fixture.target.disk.visibleImage
      let entries = history.all
      let dirty = bitmap.withBits { $0.runs() }
      let moments = entries.indices.filter { index in
        entries[index].image == target
          && granules(entries[(index + 1)...]).elementsEqual(granules(dirty))
      }
      #expect(!moments.isEmpty, fixture.seed)
      #expect(fixture.isAtRest, fixture.seed)
    }
  }

  /// Two guests at once, and an incremental on top of a full backup.
  @Test func aChainIsTheDiskAtItsLastMoment() async throws {
    try await withFixture(seeds: 0..<20) { fixture in
      try fixture.sourceNode.addBitmap("b")
      let history = History(fixture.source.disk.visibleImage)
      let full = try await fixture.jobs.backup(
        fixture.spec(.full, bitmap: "b", mode: .onSuccess))
      let first = guestTask(fixture, history, count: 30, label: "first")
      #expect(await full.wait() == .success, fixture.seed)
      let (increment, _) = try fixture.addTarget("u")
      var spec = fixture.spec(.incremental, bitmap: "b")
      spec.target = "u"
      let job = try await fixture.jobs.backup(spec)
      #expect(await job.wait() == .success, fixture.seed)
      await first.wait()
      var chain = fixture.target.disk.visibleImage
      let changes = increment.disk.visibleImage
      for range in increment.written + increment.zeroed {
        chain.write(changes.bytes(range), at: range.lower)
      }
      #expect(history.all.contains { $0.image == chain }, fixture.seed)
    }
  }

  /// Row J40.
  @Test func whatIsCleanInTheBitmapIsNotSaved() async throws {
    try await withFixture { fixture in
      try fixture.sourceNode.addBitmap("b")
      try await fixture.write(clusters: [2])
      let job = try await fixture.jobs.prepareBackup(fixture.spec(.incremental, bitmap: "b"))
      try await fixture.write(clusters: [7], number: 3)
      #expect(fixture.target.writtenClusters == [], fixture.seed)
      job.start()
      #expect(await job.wait() == .success)
      #expect(fixture.target.writtenClusters == [2], fixture.seed)
      #expect(try fixture.sourceNode.dirtyClusters("b") == [7], fixture.seed)
    }
  }

  /// Row J41.
  @Test func oldDataIsSavedBeforeItIsOverwritten() async throws {
    try await withFixture { fixture in
      try fixture.sourceNode.addBitmap("b")
      try await fixture.write(clusters: [2])
      let job = try await fixture.jobs.prepareBackup(fixture.spec(.incremental, bitmap: "b"))
      try await fixture.write(clusters: [2], number: 3)
      #expect(fixture.target.writtenClusters == [2], fixture.seed)
      job.start()
      #expect(await job.wait() == .success)
      let range = ByteRange(offset: 2 * 65536, count: 65536)
      let saved = fixture.target.disk.visibleImage.bytes(range)
      #expect(saved == WritePattern.bytes(range, write: 2), fixture.seed)
      #expect(try fixture.sourceNode.dirtyClusters("b") == [2], fixture.seed)
      #expect(fixture.target.written.count == 1, "saved once")
    }
  }

  /// Row J32: a guest's copies know no speed limit, and no cluster is copied twice.
  @Test func aSlowJobSavesWhatGuestsOverwriteAtOnce() async throws {
    try await withFixture(length: 2 << 20) { fixture in
      let before = fixture.source.disk.visibleImage
      var spec = fixture.spec(.full)
      spec.speed = 1
      let job = try await fixture.jobs.backup(spec)
      let start = fixture.world.now
      try await fixture.write(clusters: [17])
      try await fixture.write(clusters: Array(16..<32), number: 3)
      #expect(fixture.world.now.nanoseconds(since: start) < 1_000_000_000, fixture.seed)
      try job.setSpeed(0)
      #expect(await job.wait() == .success, fixture.seed)
      #expect(fixture.target.disk.visibleImage == before, fixture.seed)
      let copied = fixture.target.written.reduce(0) { $0 + $1.count }
      #expect(copied == 2 << 20, "each cluster once, \(fixture.seed)")
    }
  }

  /// Rows J39 and F01's first: only what is overwritten is saved, whole clusters of it.
  @Test func syncNoneSavesWhatIsOverwrittenUntilItIsCancelled() async throws {
    try await withFixture { fixture in
      let job = try await fixture.jobs.backup(fixture.spec(.none))
      try await fixture.guest.fill(0x55, at: 3 * 65536 + 4096, count: 4096)
      #expect(fixture.target.written == [ByteRange(offset: 3 * 65536, count: 65536)])
      let range = ByteRange(offset: 3 * 65536, count: 65536)
      #expect(
        fixture.target.disk.visibleImage.bytes(range) == WritePattern.bytes(range, write: 1))
      #expect(job.progress == JobProgress(current: 65536, total: 1 << 20), fixture.seed)
      try job.pause()
      await job.wait(for: [.paused])
      try job.resume()
      #expect(job.status == .running)
      try job.cancel()
      #expect(await job.wait() == .cancelled, fixture.seed)
      try await fixture.write(clusters: [5])
      #expect(fixture.target.written.count == 1, fixture.seed)
    }
  }

  @Test func zeroesAndDiscardsAreSavedToo() async throws {
    try await withFixture { fixture in
      let before = fixture.source.disk.visibleImage
      let job = try await fixture.jobs.prepareBackup(fixture.spec(.full))
      try await fixture.guest.writeZeroes(ByteRange(100, 70000), mayUnmap: true)
      try await fixture.guest.discard(ByteRange(5 * 65536 + 1, 6 * 65536 + 1))
      #expect(fixture.target.writtenClusters == [0, 1, 5, 6], fixture.seed)
      job.start()
      #expect(await job.wait() == .success)
      #expect(fixture.target.disk.visibleImage == before, fixture.seed)
    }
  }

  @Test func aGuestsFlushLeavesTheTargetAlone() async throws {
    try await withFixture(seeds: 0..<1) { fixture in
      let job = try await fixture.jobs.prepareBackup(fixture.spec(.full))
      try await fixture.write(clusters: [1])
      try await fixture.guest.flush()
      #expect(fixture.target.disk.count(of: [.sync]) == 0)
      #expect(fixture.source.disk.count(of: [.sync]) == 1)
      try job.cancel()
      _ = await job.wait()
    }
  }

  private func granules(_ ranges: [ByteRange]) -> [Int] {
    Set(ranges.flatMap { $0.lower / 512..<$0.upper.dividedRoundingUp(by: 512) }).sorted()
  }

  private func granules(_ entries: ArraySlice<History.Entry>) -> [Int] {
    granules(entries.compactMap(\.operation).filter(\.isChange).map(\.range))
  }
}
