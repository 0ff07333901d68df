import BackupJob
import BlockLayer
import BlockTestKit
import Execution
import ImageOps
import Primitives
import Qcow2
import Testing

/// A disk in a qcow2 image on a simulated host file, and backups of it in others.
struct Qcow2Chain: Sendable {
  static let length = 64 << 20

  let world: World
  let graph: BlockGraph
  let jobs: JobRegistry
  let disk: BlockNode
  let guest: BlockBackend

  init(_ world: World) async throws {
    self.world = world
    graph = BlockGraph(world: world, registry: Self.registry, policy: .none)
    jobs = JobRegistry(graph: graph)
    disk = try await Self.open(
      Self.create(in: world), in: graph, OpenOptions(format: "qcow2", nodeName: "n0"))
    guest = try BlockBackend(disk, in: graph, name: "drive0")
    try await write(Patterns.p0)
  }

  /// Writes patterns as `qemu-io` does, and flushes.
  func write(_ patterns: [(pattern: UInt8, offset: Int, count: Int)]) async throws {
    for (pattern, offset, count) in patterns {
      try await guest.fill(pattern, at: offset, count: count)
    }
    try await guest.flush()
  }

  /// Makes an empty image; its file.
  static func create(in world: World, clusterSize: Int = 65536) async throws -> SimulatedDisk {
    let file = SimulatedDisk(in: world)
    let graph = BlockGraph(world: world, registry: DriverRegistry(), policy: .none)
    let node = try graph.addNode(file)
    var options = NewImageOptions(virtualSize: length)
    options.clusterSize = clusterSize
    try await Qcow2Driver.create(options, in: node)
    try await graph.close(node)
    return file
  }

  /// Opens the last of `files`, each of which is backed by the one before.
  static func open(
    chain files: [SimulatedDisk], in graph: BlockGraph, readOnly: Bool = true
  ) async throws -> BlockNode {
    var node: BlockNode?
    for (index, file) in files.enumerated() {
      let isTop = index == files.count - 1
      var options = OpenOptions(format: "qcow2", readOnly: !isTop || readOnly, backing: .ignore)
      if let node { options.backing = .node(node) }
      node = try await open(file, in: graph, options)
    }
    return try #require(node)
  }

  private static func open(
    _ file: SimulatedDisk, in graph: BlockGraph, _ options: OpenOptions
  ) async throws -> BlockNode {
    let node = try graph.addNode(file, options: NodeOptions(isReadOnly: options.isReadOnly))
    return try await graph.open(file: node, options)
  }

  /// Runs a backup to the last of `files`, whose backing chain the others are; the job, done.
  func backup(
    _ sync: BackupSpec.Sync, to files: [SimulatedDisk], bitmap: String? = nil
  ) async throws -> Job {
    let target = try await Self.open(chain: files, in: graph, readOnly: false)
    let job = try await jobs.backup(
      BackupSpec(source: "drive0", target: .node(target), sync: sync, bitmap: bitmap))
    _ = await job.wait()
    try await graph.close(target)
    return job
  }

  /// Compares what two chains show.
  static func compare(
    _ left: [SimulatedDisk], _ right: [SimulatedDisk], in world: World
  ) async throws -> ComparisonResult {
    let graph = BlockGraph(world: world, registry: registry, policy: .none)
    return try await ImageComparison().compare(
      try await open(chain: left, in: graph), try await open(chain: right, in: graph))
  }

  static let registry: DriverRegistry = {
    var registry = DriverRegistry()
    registry.addFormat("qcow2", recognises: Qcow2Driver.recognises) {
      (file, context) async throws(BlockError) in try await Qcow2Driver.open(file, context)
    }
    return registry
  }()
}

/// The writes of the scenarios: three places each, of which some overlap those before.
enum Patterns {
  static let p0: [(pattern: UInt8, offset: Int, count: Int)] = [
    (0x41, 0, 512), (0xd5, 1 << 20, 32 << 10), (0xdc, 32 << 20, 124 << 10),
  ]
  static let w1: [(pattern: UInt8, offset: Int, count: Int)] = [
    (0xab, 0, 512), (0xfe, 16 << 20, 256 << 10), (0x64, 32736 << 10, 64 << 10),
  ]
  static let w2: [(pattern: UInt8, offset: Int, count: Int)] = [
    (0x9a, 0, 512), (0x55, 8 << 20, 352 << 10), (0x78, 15872 << 10, 1 << 20),
  ]
}
