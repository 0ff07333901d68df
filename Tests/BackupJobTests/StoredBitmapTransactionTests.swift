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
      file = try await Self.create(world)
      graph = BlockGraph(world: world, registry: .standard, policy: .none)
      self.node = try await Self.open(file, graph)
      jobs = JobRegistry(graph: graph)
    }

    /// An image with these bitmaps, in a file.
    static func create(_ world: World) async throws -> SimulatedDisk {
      let file = SimulatedDisk(in: world)
      let empty = BlockGraph(world: world, registry: DriverRegistry(), policy: .none)
      let below = try empty.addNode(file)
      try await Qcow2Driver.create(NewImageOptions(virtualSize: 64 << 20), in: below)
      try await empty.close(below)
      let graph = BlockGraph(world: world, registry: .standard, policy: .none)
      let node = try await open(file, graph)
      try node.addBitmap("b", persistent: true)
      try node.addBitmap("c", persistent: true)
      let guest = try BlockBackend(node, in: graph)
      try await guest.fill(1, at: 0, count: 65536)
      await guest.close()
      try await graph.close(node)
      return file
    }

    static func open(
      _ file: SimulatedDisk, _ graph: BlockGraph, _ name: String = "q"
    ) async throws -> BlockNode {
      let below = try graph.addNode(file)
      return try await graph.open(file: below, OpenOptions(format: "qcow2", nodeName: name))
    }

    /// What a program would find that opened the image now, after a crash: each bitmap's name, its
    /// dirty bytes, and whether it records.
    func afterACrash() async throws -> [String] {
      let copy = SimulatedDisk(file.durableImage, in: graph.world)
      let other = BlockGraph(world: graph.world, registry: .standard, policy: .none)
      return try await Self.open(copy, other).bitmaps.all.map { bitmap in
        "\(bitmap.name ?? "") \(bitmap.count) \(bitmap.isEnabled)"
      }.sorted()
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

  /// The removal from the first image is done when that from the second fails.
  @Test(arguments: 0..<4) func whatIsUndoneIsNotInTheImage(number: Int) async throws {
    try await simulate(seeds: 0..<3) { world in
      let stored = try await Stored(world)
      let other = try await Stored.create(world)
      let second = try await Stored.open(other, stored.graph, "r")
      try stored.node.addBitmap("m", persistent: true)
      try await stored.node.storeBitmaps()
      let before = try await stored.afterACrash()
      let changes: [Transaction.Action] = [
        .clearBitmap(node: "q", name: "c"), .disableBitmap(node: "q", name: "c"),
        .mergeBitmaps(node: "q", target: "m", sources: [.init("c")]),
        .addBitmap(node: "q", name: "n", persistent: true),
      ]
      other.faults = .failing([.write], nth: 1)
      await #expect(throws: JobError.self) {
        try await stored.jobs.transaction([
          changes[number], .removeBitmap(node: "q", name: "b"),
          .removeBitmap(node: "r", name: "b"),
        ])
      }
      #expect(other.faultCount == 1)
      #expect(try await stored.afterACrash() == before, "seed \(world.seed)")
      #expect(second.bitmaps.all.count == 2)
    }
  }

  /// However the removal and a store fall together: what is removed does not come back.
  @Test(arguments: [true, false]) func aStoreDoesNotBringBackWhatIsRemoved(
    inTransaction: Bool
  ) async throws {
    try await simulate(seeds: 0..<30) { world in
      let stored = try await Stored(world)
      try await stored.node.removeBitmap("c")
      let isNew = world.seed.isMultiple(of: 3)
      let name = isNew ? "n" : "b"
      if isNew {
        try await stored.node.removeBitmap("b")
        try stored.node.addBitmap("n", persistent: true)
      }
      let guest = try BlockBackend(stored.node, in: stored.graph)
      try await guest.fill(1, at: 1 << 20, count: 65536)
      let store = world.spawn {
        for _ in 0..<Int(world.seed) { await world.yield() }
        try? await stored.graph.storeBitmaps(of: stored.node)
      }
      if inTransaction {
        try await stored.jobs.transaction([.removeBitmap(node: "q", name: name)])
      } else {
        try await stored.node.removeBitmap(name)
      }
      await store.wait()
      await guest.close()
      try await stored.graph.close(stored.node)
      #expect(try await stored.inImage() == [:], "seed \(world.seed)")
    }
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
