import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Testing

@testable import Qcow2

/// The engine beside a model of the guest's disk, with compressed writes among the others.
@Suite struct CompressedModelTests {
  struct Kind: Sendable {
    var clusterSize: Int
    var refcountBits = 16
    var version = FormatVersion.v3
    var compression = CompressionType.deflate
    var hasExtendedL2 = false
  }

  #if Zstd
  static let second = CompressionType.zstd
  /// What qemu-img calls the codecs.
  static let types = ["zlib", "zstd"]
  #else
  static let second = CompressionType.deflate
  static let types = ["zlib"]
  #endif

  static let kinds: [Kind] = [
    Kind(clusterSize: 512), Kind(clusterSize: 512, refcountBits: 1),
    Kind(clusterSize: 512, refcountBits: 64, compression: second),
    Kind(clusterSize: 1024, refcountBits: 2), Kind(clusterSize: 4096, version: .v2),
    Kind(clusterSize: 4096, refcountBits: 64), Kind(clusterSize: 65536),
    Kind(clusterSize: 65536, refcountBits: 2, compression: second),
    Kind(clusterSize: 65536, version: .v2), Kind(clusterSize: 16384, hasExtendedL2: true),
    Kind(clusterSize: 65536, refcountBits: 1, compression: second, hasExtendedL2: true),
    Kind(clusterSize: 2 << 20),
    Kind(clusterSize: 2 << 20, refcountBits: 1, compression: second),
  ]

  private static func options(_ kind: Kind, size: Int) -> NewImageOptions {
    var options = NewImageOptions(virtualSize: size)
    options.clusterSize = kind.clusterSize
    options.refcountBits = kind.refcountBits
    options.version = kind.version
    options.compressionType = kind.compression
    options.hasExtendedL2 = kind.hasExtendedL2
    return options
  }

  /// Does a write of whole clusters compressed, half of the time; everything else as it is.
  private static func perform(
    _ operation: GuestOperation, _ disk: inout ModelledDisk, _ clusterSize: Int,
    _ isCompressed: Bool
  ) async throws(BlockError) -> String? {
    guard isCompressed, case .write(let range, let number) = operation else {
      return try await disk.perform(operation)
    }
    let whole = range.roundedOut(to: clusterSize)
    let clusters = ByteRange(whole.lower, min(whole.upper, disk.door.length))
    let ticket = disk.model.begin(.write(clusters, number: number))
    try await disk.door.writeCompressed(
      WritePattern.bytes(clusters, write: number), at: clusters.lower)
    disk.model.end(ticket)
    return nil
  }

  @Test(arguments: 0..<39)
  func randomSequencesReadBackWhatTheModelHas(seed: Int) async throws {
    let kind = Self.kinds[seed % Self.kinds.count]
    let world = World.simulated(seed: UInt64(seed))
    let problem = try await world.run { () async throws -> String? in
      var random = world.makeRandom("compressed")
      let size = 512 * Int.random(in: 1...30 * max(kind.clusterSize / 4096, 8), using: &random)
      let image = try await ImageFixture.create(
        Self.options(kind, size: size), in: world, discard: .unmap)
      let shape = OperationSequence.Shape(length: size, cluster: min(kind.clusterSize, size))
      var model: ModelDisk?
      for part in 0..<3 {
        let operations = OperationSequence(
          count: kind.clusterSize > 65536 ? 12 : 40, shape: shape,
          random: world.makeRandom("part \(part)"),
          firstWrite: 1 + part * 1000)
        var disk = ModelledDisk(try await image.open())
        if let model { disk.model = model }
        for operation in operations {
          let isCompressed = Bool.random(using: &random)
          let difference = try await Self.perform(
            operation, &disk, kind.clusterSize, isCompressed)
          if let difference { return "\(operation): \(difference)" }
        }
        if let difference = try await disk.verify() { return difference }
        model = disk.model
        try await image.close(disk.door)
        let check = try await image.check()
        if !check.isClean { return "\(check.messages.prefix(5))" }
      }
      return nil
    }
    #expect(problem == nil, "seed \(seed), \(kind)")
  }

  /// Guests, each with clusters of its own, at the same time on a disk where every operation is a
  /// scheduling point: their streams share host clusters.
  @Test(arguments: 0..<16)
  func concurrentCompressedWritersLoseNothing(seed: Int) async throws {
    let kind = Self.kinds[seed % 6]
    let world = World.simulated(seed: UInt64(seed))
    let problem = try await world.run { () async throws -> String? in
      let size = 96 * kind.clusterSize
      let disk = SimulatedDisk(in: world, requestAlignment: seed % 2 == 0 ? 1 : 512)
      let graph = DamagedImage.makeGraph(in: world)
      let file = try graph.addNode(
        disk, name: "file", options: NodeOptions(discard: .unmap))
      try await Qcow2Driver.create(Self.options(kind, size: size), in: file)
      let image = ImageFixture(world: world, graph: graph, file: file, disk: disk)
      let door = try await image.open()
      await withTaskGroup(of: Void.self) { group in
        for guest in 0..<6 {
          group.addTask { await Self.work(guest, door, kind.clusterSize, seed) }
        }
      }
      for cluster in 0..<96 {
        let range = ByteRange(offset: cluster * kind.clusterSize, count: kind.clusterSize)
        let bytes = try await door.read(at: range.lower, count: range.count)
        if bytes != WritePattern.bytes(range, write: 2 + cluster % 6) {
          return "cluster \(cluster)"
        }
      }
      try await image.close(door)
      let check = try await image.check()
      return check.isClean ? nil : "\(check.messages.prefix(5))"
    }
    #expect(problem == nil, "seed \(seed), \(kind)")
  }

  /// Writes each cluster of `guest` twice, the second time for good, with discards and flushes in
  /// between.
  private static func work(
    _ guest: Int, _ door: BlockBackend, _ clusterSize: Int, _ seed: Int
  ) async {
    var random = SeededGenerator(seed: UInt64(seed * 10 + guest))
    let clusters = (0..<16).map { $0 * 6 + guest }
    for number in [1, 2 + guest] {
      for cluster in clusters.shuffled(using: &random) {
        let range = ByteRange(offset: cluster * clusterSize, count: clusterSize)
        let bytes = WritePattern.bytes(range, write: number)
        if Int.random(in: 0..<4, using: &random) == 0 {
          try? await door.write(bytes, at: range.lower)
        } else {
          try? await door.writeCompressed(bytes, at: range.lower)
        }
        if number == 1, cluster % 4 == 0 { try? await door.discard(range) }
        if cluster % 8 == guest { try? await door.flush() }
      }
    }
  }
}
