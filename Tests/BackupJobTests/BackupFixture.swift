import BackupJob
import BlockLayer
import BlockTestKit
import DirtyBitmap
import Execution
import Primitives
import Synchronization
import Testing

/// A disk `drive0` over the node `n0`, a target `t` of the same length, and a registry for jobs.
struct BackupFixture: Sendable {
  static let cluster = 65536

  let world: World
  let graph: BlockGraph
  let jobs: JobRegistry
  let source: TestDisk
  let target: TestDisk
  let sourceNode: BlockNode
  let targetNode: BlockNode
  let guest: BlockBackend

  /// `length` bytes, all of them data that says where it comes from (write number 1) unless
  /// `isEmpty`.
  init(
    _ world: World, length: Int = 1 << 20, targetClusterSize: Int = 0, isEmpty: Bool = false,
    targetTellsZeros: Bool = false, discard: NodeOptions.Discard = .unmap
  ) throws {
    let image = isEmpty ? SparseImage(length: length) : Self.patterned(length)
    self.world = world
    graph = BlockGraph(world: world, registry: DriverRegistry())
    jobs = JobRegistry(graph: graph)
    source = TestDisk(SimulatedDisk(image, in: world))
    target = TestDisk(
      SimulatedDisk(SparseImage(length: length), in: world), clusterSize: targetClusterSize,
      tellsZeros: targetTellsZeros)
    sourceNode = try graph.addNode(source, name: "n0", options: NodeOptions(discard: discard))
    targetNode = try graph.addNode(target, name: "t")
    guest = try BlockBackend(sourceNode, in: graph, name: "drive0")
  }

  private static let images = Mutex<[Int: SparseImage]>([:])

  /// An image full of the pattern of write number 1; each length is made once.
  private static func patterned(_ length: Int) -> SparseImage {
    images.withLock { images in
      if let image = images[length] { return image }
      var image = SparseImage(length: length)
      if length > 0 { image.write(WritePattern.bytes(ByteRange(0, length), write: 1), at: 0) }
      images[length] = image
      return image
    }
  }

  /// The seed, for the comment of an expectation.
  var seed: Comment { "seed \(world.seed)" }

  /// A specification of a backup from `drive0` to `t`.
  func spec(
    _ sync: BackupSpec.Sync, bitmap: String? = nil, mode: BackupSpec.BitmapMode? = nil
  ) -> BackupSpec {
    BackupSpec(source: "drive0", target: "t", sync: sync, bitmap: bitmap, bitmapMode: mode)
  }

  /// Adds a target of the source's length.
  func addTarget(
    _ name: String, clusterSize: Int = 0, backing: BlockNode? = nil
  ) throws -> (TestDisk, BlockNode) {
    let disk = TestDisk(
      SimulatedDisk(SparseImage(length: source.length), in: world), clusterSize: clusterSize,
      backing: backing)
    return (disk, try graph.addNode(disk, name: name))
  }

  /// The guest overwrites clusters of 64 KiB with the pattern of write `number`.
  func write(clusters: [Int], number: Int = 2) async throws {
    for cluster in clusters {
      let range = ByteRange(offset: cluster * Self.cluster, count: Self.cluster)
        .intersection(ByteRange(0, guest.length))
      try await guest.write(WritePattern.bytes(range, write: number), at: range.lower)
    }
  }

  /// Whether nothing of a job is left: no filter, no busy node, no busy bitmap, no job.
  var isAtRest: Bool {
    jobs.jobs.isEmpty && guest.node === sourceNode && targetNode.parentEdges.isEmpty
      && graph.nodes.allSatisfy { $0.driver.driverName != "copy-before-write" }
      && sourceNode.bitmaps.all.allSatisfy { !$0.isBusy }
  }
}

extension BlockNode {
  /// The clusters of 64 KiB that are dirty in the bitmap of that name.
  func dirtyClusters(_ name: String) throws -> [Int] {
    let runs = try bitmaps.named(name).withBits { $0.runs() }
    return runs.flatMap { TestDisk.clusters($0) }
  }
}

/// Runs `body` on a fixture in a simulated World for each of some seeds.
func withFixture(
  seeds: Range<UInt64> = 0..<6, length: Int = 1 << 20, targetClusterSize: Int = 0,
  _ body: @escaping @Sendable (BackupFixture) async throws -> Void
) async throws {
  try await simulate(seeds: seeds) { world in
    try await body(
      try BackupFixture(world, length: length, targetClusterSize: targetClusterSize))
  }
}
