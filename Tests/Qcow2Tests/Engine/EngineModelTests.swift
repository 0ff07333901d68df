import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Qcow2
import Testing

/// The engine beside a model of the guest's disk, over random geometries.
@Suite struct EngineModelTests {
  static let geometries: [(clusterSize: Int, refcountBits: Int, version: FormatVersion)] = [
    (512, 64, .v3), (512, 1, .v3), (512, 16, .v2), (1024, 8, .v3), (4096, 2, .v3),
    (4096, 16, .v2), (65536, 4, .v3), (65536, 16, .v3), (65536, 32, .v3), (2 << 20, 16, .v3),
  ]

  @Test(arguments: 0..<30)
  func randomSequencesReadBackWhatTheModelHas(seed: Int) async throws {
    let geometry = Self.geometries[seed % Self.geometries.count]
    let world = World.simulated(seed: UInt64(seed))
    let difference = try await world.run { () async throws -> String? in
      var random = world.makeRandom("geometry")
      let sectors = Int.random(in: 1...1500, using: &random)
      var options = NewImageOptions(virtualSize: sectors * 512)
      options.clusterSize = geometry.clusterSize
      options.refcountBits = geometry.refcountBits
      options.version = geometry.version
      let image = try await ImageFixture.create(options, in: world)
      let shape = OperationSequence.Shape(
        length: options.virtualSize, cluster: min(options.clusterSize, options.virtualSize))
      var operations = OperationSequence(
        count: 120, shape: shape, random: world.makeRandom("operations"))
      var model: ModelDisk?
      for _ in 0..<3 {
        var disk = ModelledDisk(try await image.open())
        if let model { disk.model = model }
        for operation in operations.prefix(40) {
          if let difference = try await disk.perform(operation) {
            return "\(operation): \(difference)"
          }
        }
        operations = OperationSequence(
          count: 120, shape: shape, random: world.makeRandom("more"), firstWrite: 10_000)
        model = disk.model
        try await image.close(disk.door)
        let reader = try await image.open(readOnly: true)
        let bytes = try await reader.read(at: 0, count: reader.length)
        if let difference = disk.model.verify(bytes, at: ByteRange(0, reader.length)) {
          return "after closing: \(difference)"
        }
        try await image.close(reader)
      }
      return nil
    }
    #expect(difference == nil, "seed \(seed), \(geometry)")
  }

  @Test(arguments: 0..<12)
  func concurrentWritersOfOneClusterLoseNothing(seed: Int) async throws {
    var options = NewImageOptions(virtualSize: ConcurrentWriters.diskSize)
    options.clusterSize = 4096
    let lost = try await ConcurrentWriters.firstLostSector(options, seed: seed)
    #expect(lost == nil, "seed \(seed)")
  }

  @Test func theRefcountTableGrowsAsOftenAsItMust() async throws {
    let world = World.simulated(seed: 1)
    try await world.run { () async throws in
      // 512-byte clusters and 64-bit refcounts: a table cluster counts 2 MiB of file.
      var options = NewImageOptions(virtualSize: 6 << 20)
      options.clusterSize = 512
      options.refcountBits = 64
      let image = try await ImageFixture.create(options, in: world)
      let tableBefore = try await image.words(at: 48, count: 1)[0]
      var disk = ModelledDisk(try await image.open())
      for index in 0..<96 {
        let range = ByteRange(offset: (index * 37 % 96) * 65536, count: 65536)
        _ = try await disk.perform(.write(range, number: index + 1))
      }
      #expect(try await disk.verify() == nil)
      try await image.close(disk.door)
      #expect(try await image.words(at: 48, count: 1)[0] != tableBefore)
      let reader = try await image.open(readOnly: true)
      let bytes = try await reader.read(at: 0, count: reader.length)
      #expect(disk.model.verify(bytes, at: ByteRange(0, reader.length)) == nil)
    }
  }
}
