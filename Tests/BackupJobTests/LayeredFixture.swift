import BackupJob
import BlockLayer
import BlockTestKit
import Execution
import Primitives

/// The disk of the specification's verified instance: 16 clusters of 64 KiB; the base has 0 to 7,
/// the overlay `top` 4 to 11; then a bitmap `b` in which 1, 2 and 5 are dirty.
struct LayeredFixture: Sendable {
  /// Registry, target and an unrelated disk.
  let base: BackupFixture
  let top: BlockNode
  let disk: TestDisk
  let guest: BlockBackend

  init(_ world: World) throws {
    base = try BackupFixture(world)
    let length = 1 << 20
    var lower = SparseImage(length: length)
    lower.write(WritePattern.bytes(ByteRange(0, 8 * 65536), write: 7), at: 0)
    let below = try base.graph.addNode(
      TestDisk(SimulatedDisk(lower, in: world)), name: "below",
      options: NodeOptions(isReadOnly: true))
    var upper = SparseImage(length: length)
    upper.write(WritePattern.bytes(ByteRange(4 * 65536, 12 * 65536), write: 8), at: 4 * 65536)
    disk = TestDisk(SimulatedDisk(upper, in: world), backing: below, allocated: Set(4..<12))
    top = try base.graph.addNode(disk, name: "top")
    guest = try BlockBackend(top, in: base.graph, name: "drive1")
  }

  /// Adds the bitmap and makes it dirty.
  func dirty() async throws {
    try top.addBitmap("b", granularity: 65536)
    for cluster in [1, 2, 5] { try await write(cluster) }
  }

  func write(_ cluster: Int, number: Int = 9) async throws {
    let range = ByteRange(offset: cluster * 65536, count: 65536)
    try await guest.write(WritePattern.bytes(range, write: number), at: range.lower)
  }
}
