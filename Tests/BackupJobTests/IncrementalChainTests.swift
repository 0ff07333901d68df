import BackupJob
import BlockLayer
import BlockTestKit
import DirtyBitmap
import Execution
import ImageOps
import Primitives
import Testing

/// The incremental backups of QEMU's iotest 124, on qcow2 images.
@Suite struct IncrementalChainTests {
  struct Row: Sendable, CustomTestStringConvertible {
    var granularity: Int
    /// What is dirty after W1 and W2, and what is copied for it.
    var dirty: [Int]
    var copied: [Int]
    var testDescription: String { "\(granularity >> 10)K" }
  }

  /// Rows S01 to S05: a full backup, a hollow increment and two real ones.
  @Test(arguments: [
    Row(granularity: 65536, dirty: [458_752, 1_507_328], copied: [458_752, 1_507_328]),
    // Finer bits, rounded out to the copy cluster.
    Row(granularity: 32768, dirty: [360_448, 1_441_792], copied: [458_752, 1_507_328]),
    Row(granularity: 131072, dirty: [655_360, 1_572_864], copied: [655_360, 1_572_864]),
  ])
  func everyIncrementOfAChainIsTheDiskAtItsTime(row: Row) async throws {
    try await simulate(seeds: 0..<2) { world in
      let chain = try await Qcow2Chain(world)
      var files = [try await Qcow2Chain.create(in: world)]
      var references: [SimulatedDisk] = []
      let anchor = try await chain.backup(.full, to: files)
      #expect(anchor.result == .success)
      #expect(anchor.progress == JobProgress(current: 64 << 20, total: 64 << 20))
      let bitmap = try chain.disk.addBitmap("bitmap0", granularity: row.granularity)

      let rounds = [[], Patterns.w1, Patterns.w2]
      for (patterns, (dirty, copied)) in zip(rounds, zip([0] + row.dirty, [0] + row.copied)) {
        try await chain.write(patterns)
        #expect(bitmap.count == dirty)
        files.append(try await Qcow2Chain.create(in: world))
        let before = files.map(\.visibleImage)
        let job = try await chain.backup(.incremental, to: files, bitmap: "bitmap0")
        #expect(job.result == .success, "seed \(world.seed)")
        #expect(job.progress == JobProgress(current: copied, total: copied))
        #expect(bitmap.count == 0)
        #expect(files.dropLast().map(\.visibleImage) == before.dropLast(), "older ones changed")
        let reference = try await Qcow2Chain.create(in: world)
        #expect(try await chain.backup(.full, to: [reference]).result == .success)
        references.append(reference)
      }

      #expect(try await allocated(files[1], in: world) == 0, "the hollow one is not hollow")
      for (index, reference) in references.enumerated() {
        let result = try await Qcow2Chain.compare(
          Array(files[...(index + 1)]), [reference], in: world)
        #expect(result == .identical, "increment \(index), seed \(world.seed)")
      }
    }
  }

  /// Row S06: a target with larger clusters and no backing file gets whole ones of them, so that a
  /// backing file can be put under it later.
  @Test func aTargetWithLargerClustersCanBePutOnItsChainLater() async throws {
    try await simulate(seeds: 0..<2) { world in
      let chain = try await Qcow2Chain(world)
      let anchor = try await Qcow2Chain.create(in: world, clusterSize: 128 << 10)
      #expect(try await chain.backup(.full, to: [anchor]).result == .success)
      let bitmap = try chain.disk.addBitmap("bitmap0")
      try await chain.write(Patterns.w1)
      #expect(bitmap.count == 458752)
      #expect(bitmap.granularity == 65536)
      let increment = try await Qcow2Chain.create(in: world, clusterSize: 128 << 10)
      let job = try await chain.backup(.incremental, to: [increment], bitmap: "bitmap0")
      #expect(job.result == .success)
      #expect(job.progress.total == 5 * (128 << 10))
      let reference = try await Qcow2Chain.create(in: world)
      #expect(try await chain.backup(.full, to: [reference]).result == .success)
      let result = try await Qcow2Chain.compare([anchor, increment], [reference], in: world)
      #expect(result == .identical, "seed \(world.seed)")
    }
  }

  /// How many bytes of the disk the image has itself.
  private func allocated(_ file: SimulatedDisk, in world: World) async throws -> Int {
    let graph = try await Qcow2Chain(world).graph
    let node = try await Qcow2Chain.open(chain: [file], in: graph)
    var position = 0
    var sum = 0
    while position < node.length {
      let status = try await node.chainStatus(ByteRange(position, node.length), downTo: node)
      if status.status.isAllocated { sum += status.count }
      position += status.count
    }
    return sum
  }
}
