import BackupChain
import BlockLayer
import BlockTestKit
import Execution
import Lamina
import Primitives
import Qcow2
import SystemPackage
import Testing

/// A disk and a folder of backups in memory, which survive their processes: each `session` opens
/// everything anew.
struct ChainLab: Sendable {
  static let length = 2 << 20
  static let cluster = 65536

  let world: World
  let disks: SimulatedFolder
  let backups: SimulatedFolder

  /// An empty disk and no backups.
  init(_ world: World, length: Int = ChainLab.length) async throws {
    self.world = world
    disks = SimulatedFolder("/disks", in: world)
    backups = SimulatedFolder("/backups", in: world)
    try await makeDisk("disk.qcow2", length: length)
  }

  /// What a crash left.
  init(_ world: World, disks: SimulatedFolder, backups: SimulatedFolder) {
    self.world = world
    self.disks = disks
    self.backups = backups
  }

  func makeDisk(_ name: String, length: Int = ChainLab.length) async throws {
    let graph = graph()
    let file = try graph.addNode(try disks.create(name))
    try await Qcow2Driver.create(NewImageOptions(virtualSize: length), in: file)
    try await graph.close(file)
    try disks.sync()
  }

  func graph() -> BlockGraph {
    var registry = DriverRegistry.standard
    registry.setHostFiles(SimulatedFolder.opener([disks, backups]))
    return BlockGraph(world: world, registry: registry, policy: .confined)
  }

  func chain() -> BackupChain { BackupChain(in: backups, graph()) }

  func path(_ disk: String) -> FilePath { disks.path.appending(disk) }

  // MARK: - The disk

  /// Opens the disk, and closes it afterwards: what a virtual machine's run does.
  func session<T>(
    _ disk: String = "disk.qcow2", readOnly: Bool = false,
    _ body: (BlockGraph, BlockNode) async throws -> T
  ) async throws -> T {
    let graph = graph()
    let node = try await graph.open(
      path(disk), OpenOptions(format: "qcow2", readOnly: readOnly, discard: .unmap))
    let result = try await body(graph, node)
    try await graph.close(node)
    return result
  }

  /// Writes clusters full of `pattern`.
  func write(_ clusters: [Int], _ pattern: UInt8, disk: String = "disk.qcow2") async throws {
    try await session(disk) { graph, node in
      let guest = try BlockBackend(node, in: graph)
      for cluster in clusters {
        try await guest.fill(pattern, at: cluster * Self.cluster, count: Self.cluster)
      }
      try await guest.flush()
      await guest.close()
    }
  }

  /// Gives the disk another length.
  func resize(_ length: Int) async throws {
    try await session { _, node in try await node.resize(to: length, mayShrink: true) }
  }

  /// What the disk shows.
  func contents(_ disk: String = "disk.qcow2") async throws -> [UInt8] {
    try await session(disk, readOnly: true) { _, node in try await Self.bytes(node) }
  }

  /// What backup `number` shows.
  func contents(of number: Int) async throws -> [UInt8] {
    let graph = graph()
    let node = try await graph.open(
      backups.path.appending(BackupChain.fileName(number)),
      OpenOptions(format: "qcow2", readOnly: true))
    let bytes = try await Self.bytes(node)
    try await graph.close(node)
    return bytes
  }

  private static func bytes(_ node: BlockNode) async throws -> [UInt8] {
    var buffer = IOBuffer(byteCount: node.length)
    var span = buffer.mutableBytes
    try await node.read(ByteRange(0, node.length), into: &span)
    return span.bytes.toArray()
  }

  // MARK: - Backups

  /// Makes a backup.
  @discardableResult
  func backup(
    _ disk: String = "disk.qcow2", _ change: (inout BackupRequest) -> Void = { _ in }
  ) async throws -> Manifest.Backup {
    var request = BackupRequest(disk: path(disk))
    change(&request)
    return try await chain().create(request).backup
  }

  /// The names of the disk's bitmaps.
  func bitmaps(_ disk: String = "disk.qcow2") async throws -> [String] {
    try await session(disk, readOnly: true) { _, node in node.bitmaps.all.compactMap(\.name) }
  }

  /// Checks that each backup is sound and the last one shows the disk.
  func expectSound(
    _ comment: Comment? = nil, location: SourceLocation = #_sourceLocation
  ) async throws {
    let report = try await chain().verify(against: path("disk.qcow2"))
    let problems = report.entries.flatMap(\.problems)
    #expect(problems.isEmpty, comment, sourceLocation: location)
    #expect(report.disk?.firstDifference == nil, comment, sourceLocation: location)
    let last = try #require(report.entries.last?.backup.number)
    let isSame = try await contents(of: last) == contents()
    #expect(isSame, comment, sourceLocation: location)
  }
}

/// Runs `body` in a simulated World for each of some seeds.
func simulate(
  seeds: Range<UInt64>, _ body: @escaping @Sendable (World) async throws -> Void
) async throws {
  for seed in seeds {
    let world = World.simulated(seed: seed)
    try await world.run { try await body(world) }
  }
}
