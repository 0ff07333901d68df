import BackupJob
import BlockLayer
import BlockTestKit
import DirtyBitmap
import Execution
import Primitives

/// Two disks, `drive0` over `n0` and `drive1` over `n1`, with their targets `t` and `u`.
struct TwoDisks: Sendable {
  let base: BackupFixture
  let disk: TestDisk
  let node: BlockNode
  let guest: BlockBackend
  let target: TestDisk

  init(_ world: World) throws {
    base = try BackupFixture(world)
    disk = TestDisk(SimulatedDisk(base.source.disk.visibleImage, in: world))
    node = try base.graph.addNode(disk, name: "n1")
    guest = try BlockBackend(node, in: base.graph, name: "drive1")
    target = try base.addTarget("u").0
  }

  var jobs: JobRegistry { base.jobs }
  var world: World { base.world }
  var isAtRest: Bool {
    base.isAtRest && guest.node === node && node.bitmaps.all.allSatisfy { !$0.isBusy }
  }

  /// Backups of both disks by their bitmaps `b`, one cluster at a time.
  func specs(
    _ sync: BackupSpec.Sync = .incremental, _ mode: BackupSpec.BitmapMode? = nil,
    change: (inout BackupSpec, inout BackupSpec) -> Void = { _, _ in }
  ) -> [Transaction.Action] {
    let bitmap = sync == .incremental || mode != nil ? "b" : nil
    var first = base.spec(sync, bitmap: bitmap, mode: mode)
    first.maxWorkers = 1
    first.maxChunk = BackupFixture.cluster
    var second = first
    second.source = "drive1"
    second.target = "u"
    change(&first, &second)
    return [.backup(first), .backup(second)]
  }

  /// The guests of both disks overwrite clusters.
  func write(_ clusters: [Int], _ others: [Int], number: Int = 2) async throws {
    try await base.write(clusters: clusters, number: number)
    for cluster in others {
      let range = ByteRange(offset: cluster * 65536, count: 65536)
      try await guest.write(WritePattern.bytes(range, write: number), at: range.lower)
    }
  }

  /// Bitmaps `b` on both disks, in which these clusters are dirty.
  func addBitmaps(_ clusters: [Int], _ others: [Int]) async throws {
    try base.sourceNode.addBitmap("b", granularity: BackupFixture.cluster)
    try node.addBitmap("b", granularity: BackupFixture.cluster)
    try await write(clusters, others)
  }
}
