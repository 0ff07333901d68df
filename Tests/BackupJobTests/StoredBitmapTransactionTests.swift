import BackupJob
import BlockLayer
import BlockTestKit
import DirtyBitmap
import Execution
import Lamina
import Primitives
import Qcow2
import Testing

/// Transactions on bitmaps that an image has.
@Suite struct StoredBitmapTransactionTests {
  private struct Stored {
    let file: SimulatedDisk
    let graph: BlockGraph
    let jobs: JobRegistry
    let node: BlockNode

    /// An image with the persistent bitmaps `b` and `c`, both dirty, opened anew.
    init(_ world: World) async throws {
      file = try await Self.create(in: world)
      let first = BlockGraph(world: world, registry: .standard, policy: .none)
      let node = try await Self.open(file, first)
      try node.addBitmap("b", persistent: true)
      try node.addBitmap("c", persistent: true)
      let guest = try BlockBackend(node, in: first)
      try await guest.fill(1, at: 0, count: 65536)
      await guest.close()
      try await first.close(node)
      graph = BlockGraph(world: world, registry: .standard, policy: .none)
      self.node = try await Self.open(file, graph)
      jobs = JobRegistry(graph: graph)
    }

    private static func create(in world: World) async throws -> SimulatedDisk {
      let file = SimulatedDisk(in: world)
      let graph = BlockGraph(world: world, registry: DriverRegistry(), policy: .none)
      let node = try graph.addNode(file)
      try await Qcow2Driver.create(NewImageOptions(virtualSize: 64 << 20), in: node)
      try await graph.close(node)
      return file
    }

    static func open(_ file: SimulatedDisk, _ graph: BlockGraph) async throws -> BlockNode {
      let below = try graph.addNode(file)
      return try await graph.open(file: below, OpenOptions(format: "qcow2", nodeName: "q"))
    }

    /// The names of the bitmaps in the image as it is now, with their dirty bytes.
    func inImage() async throws -> [String: Int] {
      let copy = SimulatedDisk(file.visibleImage, in: graph.world)
      let other = BlockGraph(world: graph.world, registry: .standard, policy: .none)
      let node = try await Self.open(copy, other)
      var found: [String: Int] = [:]
      for bitmap in node.bitmaps.all { found[bitmap.name ?? ""] = bitmap.count }
      return found
    }
  }

  @Test func aTransactionThatFailsDoesNotTouchTheImage() async throws {
    try await simulate(seeds: 0..<2) { world in
      let stored = try await Stored(world)
      let before = stored.file.visibleImage
      await #expect(throws: JobError.self) {
        try await stored.jobs.transaction([
          .removeBitmap(node: "q", name: "b"), .clearBitmap(node: "q", name: "c"), .abort,
        ])
      }
      #expect(stored.file.visibleImage == before, "seed \(world.seed)")
      #expect(stored.node.bitmaps.all.map(\.count) == [65536, 65536])
      try await stored.graph.close(stored.node)
      #expect(try await stored.inImage() == ["b": 65536, "c": 65536])
    }
  }

  @Test func aRemovalIsInTheImageAtOnce() async throws {
    try await simulate(seeds: 0..<2) { world in
      let stored = try await Stored(world)
      try await stored.jobs.transaction([
        .removeBitmap(node: "q", name: "b"), .clearBitmap(node: "q", name: "c"),
      ])
      #expect(try await stored.inImage()["b"] == nil)
      try await stored.graph.close(stored.node)
      #expect(try await stored.inImage() == ["c": 0])
    }
  }

  /// Whatever write or flush fails: nothing has happened, or all has.
  @Test func aRemovalThatFailsIsUndone() async throws {
    var failures = 0
    for nth in 1...40 {
      let world = World.simulated(seed: UInt64(nth))
      failures += try await world.run {
        let stored = try await Stored(world)
        stored.file.faults = .failing([.write, .writeZeroes], nth: nth)
        do throws(JobError) {
          try await stored.jobs.transaction([
            .removeBitmap(node: "q", name: "b"), .removeBitmap(node: "q", name: "c"),
          ])
          #expect(stored.node.bitmaps.all.isEmpty)
          return 0
        } catch {
          #expect(error.block != nil, "\(error)")
          #expect(stored.node.bitmaps.all.map(\.info.count) == [65536, 65536], "write \(nth)")
          #expect(stored.node.bitmaps.all.allSatisfy { !$0.isBusy })
          stored.file.faults = .none
          do {
            try await stored.graph.close(stored.node)
          } catch {
            // An image whose header could not be written is not written any more, and says so.
            #expect("\(error)".contains("earlier writing the header failed"), "write \(nth)")
            return 0
          }
          #expect(try await stored.inImage() == ["b": 65536, "c": 65536], "write \(nth)")
          return 1
        }
      }
    }
    #expect(failures > 2, "the faults hit nothing")
  }

  /// A user who is quicker than the commit: a removal takes its time while the job is there.
  @Test(arguments: [true, false]) func aJobCancelledWhileATransactionGoesOnNeverStarts(
    fails: Bool
  ) async throws {
    try await simulate(seeds: 0..<10) { world in
      let stored = try await Stored(world)
      let disk = SimulatedDisk(SparseImage(length: 64 << 20), in: world)
      let target = try stored.graph.addNode(disk, name: "t")
      let user = world.spawn {
        for _ in 0..<10_000 where stored.jobs.jobs.isEmpty { await world.yield() }
        try? stored.jobs.jobs.first?.cancel()
      }
      if fails { stored.file.faults = .failing([.write], nth: 2) }
      let spec = BackupSpec(
        source: "q", target: "t", sync: .incremental, bitmap: "b", jobID: "j")
      let jobs = try? await stored.jobs.transaction([
        .backup(spec), .removeBitmap(node: "q", name: "c"),
      ])
      #expect((jobs == nil) == fails)
      await user.wait()
      while !stored.jobs.jobs.isEmpty { await world.sleep(nanoseconds: 1_000_000) }
      #expect(
        stored.jobs.events.take()
          == [.created, .aborting, .concluded, .null].map { .statusChanged(id: "j", status: $0) },
        "seed \(world.seed)")
      #expect(try stored.node.bitmaps.named("b").info.isBusy == false)
      #expect(stored.node.bitmaps.find("b")?.count == 65536)
      #expect(target.parentEdges.isEmpty && stored.node.parentEdges.isEmpty)
    }
  }
}
