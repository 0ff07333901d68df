import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Qcow2
import Testing

/// Images with subclusters, and images whose data is in another file, beside a model of the disk.
@Suite struct SubclusterTests {
  /// A disk to be made, chosen by a seed.
  struct Plan {
    var options: NewImageOptions
    var backing: SparseImage?
    var hasDataFile: Bool
    var isRaw: Bool

    init(_ random: inout SeededGenerator) {
      let clusterSize = [16384, 16384, 65536, 2 << 20].randomElement(using: &random) ?? 16384
      options = NewImageOptions(virtualSize: 512 * Int.random(in: 1...1500, using: &random))
      options.clusterSize = clusterSize
      hasDataFile = Int.random(in: 0..<3, using: &random) == 0
      isRaw = hasDataFile && Bool.random(using: &random)
      options.hasExtendedL2 = !hasDataFile || Bool.random(using: &random)
      if !isRaw, Bool.random(using: &random) {
        let length = 512 * Int.random(in: 1...1800, using: &random)
        var image = SparseImage(length: length)
        for start in stride(from: 0, to: length, by: 40_000) {
          let range = ByteRange(start, min(start + 23_000, length))
          image.write(WritePattern.bytes(range, write: 7777), at: range.lower)
        }
        backing = image
      }
    }
  }

  @Test(arguments: 0..<24)
  func randomSequencesReadBackWhatTheModelHas(seed: Int) async throws {
    let world = World.simulated(seed: UInt64(seed))
    let difference = try await world.run { () async throws -> String? in
      var random = world.makeRandom("plan")
      let plan = Plan(&random)
      let image = try await ImageFixture.create(plan.options, in: world)
      let below = try plan.backing.map {
        try image.graph.addNode(
          SimulatedDisk($0, in: world, schedulingPoints: false), name: "below",
          options: NodeOptions(isReadOnly: true))
      }
      let data = SimulatedDisk(in: world, schedulingPoints: false)
      let dataNode =
        plan.hasDataFile
        ? try image.graph.addNode(data, name: "data", options: NodeOptions(discard: .unmap)) : nil
      if plan.hasDataFile { try await image.moveDataOut(isRaw: plan.isRaw) }
      var model = plan.backing ?? SparseImage()
      model.resize(to: plan.options.virtualSize)
      var disk = ModelledDisk(try await image.open(backing: below, dataFile: dataNode))
      disk.model = ModelDisk(model)
      for round in 0..<3 {
        let shape = OperationSequence.Shape(
          length: plan.options.virtualSize,
          cluster: min(plan.options.clusterSize / 8, plan.options.virtualSize))
        for operation in OperationSequence(
          count: 60, shape: shape, random: world.makeRandom("round \(round)"),
          firstWrite: 1 + 1000 * round)
        {
          if let difference = try await disk.perform(operation) {
            return "\(operation): \(difference)"
          }
        }
        try await image.close(disk.door)
        let reader = try await image.open(readOnly: true, backing: below, dataFile: dataNode)
        let bytes = try await reader.read(at: 0, count: reader.length)
        if let difference = disk.model.verify(bytes, at: ByteRange(0, reader.length)) {
          return "after closing: \(difference)"
        }
        try await image.close(reader)
        if plan.isRaw, let dataNode {
          let all = ByteRange(0, bytes.count)
          var buffer = IOBuffer(byteCount: bytes.count)
          var raw = buffer.mutableBytes
          try await dataNode.read(all, into: &raw)
          if let difference = disk.model.verify(raw.bytes.toArray(), at: all) {
            return "in the data file: \(difference)"
          }
        }
        let model = disk.model
        disk = ModelledDisk(try await image.open(backing: below, dataFile: dataNode))
        disk.model = model
      }
      try await image.close(disk.door)
      return nil
    }
    #expect(difference == nil, "seed \(seed)")
  }

  @Test(arguments: 0..<8)
  func concurrentWritersOfOneClusterLoseNothing(seed: Int) async throws {
    var options = NewImageOptions(virtualSize: ConcurrentWriters.diskSize)
    options.clusterSize = 65536  // subclusters of four sectors
    options.hasExtendedL2 = true
    let lost = try await ConcurrentWriters.firstLostSector(options, seed: seed)
    #expect(lost == nil, "seed \(seed)")
  }

  /// The worked example of the format's specification, write by write.
  @Test func theWorkedExampleGivesTheEntriesThatItSays() async throws {
    let world = World.simulated(seed: 1)
    try await world.run { () async throws in
      var options = NewImageOptions(virtualSize: 2 << 20)
      options.hasExtendedL2 = true
      let image = try await ImageFixture.create(options, in: world)
      var content = SparseImage(length: 2 << 20)
      content.write([UInt8](repeating: 0x77, count: 2 << 20), at: 0)
      let below = try image.graph.addNode(
        SimulatedDisk(content, in: world, schedulingPoints: false), name: "below",
        options: NodeOptions(isReadOnly: true))
      func entry(after step: (BlockBackend) async throws -> Void) async throws -> [UInt64] {
        let door = try await image.open(backing: below)
        try await step(door)
        try await image.close(door)
        let l2 = try await image.words(at: 0x30000, count: 1)[0] & ~(1 << 63)
        return try await image.words(at: Int(l2), count: 2)
      }
      let sub = 2048
      var words = try await entry { try await $0.write([UInt8](repeating: 1, count: sub), at: 0) }
      #expect(words[0] >> 63 == 1 && words[1] == 0x1)
      words = try await entry {
        try await $0.write([UInt8](repeating: 2, count: 1024), at: 5 * 1024)
      }
      #expect(words[1] == 0x5)
      words = try await entry { try await $0.writeZeroes(ByteRange(offset: 8192, count: 4096)) }
      #expect(words[1] == 0x30_0000_0005)
      words = try await entry {
        try await $0.write([UInt8](repeating: 3, count: sub), at: 8192)
      }
      #expect(words[1] == 0x20_0000_0015)
      words = try await entry { try await $0.discard(ByteRange(0, 65536)) }
      #expect(words == [0, 0xffff_ffff_0000_0000])
    }
  }
}

extension ImageFixture {
  /// Says in the header that the data is in another file.
  func moveDataOut(isRaw: Bool) async throws(BlockError) {
    let words = try await words(at: 72, count: 3)
    try await patch(bigEndian(words[0] | 1 << 2), at: 72)
    if isRaw { try await patch(bigEndian(words[2] | 1 << 1), at: 88) }
  }

  private func bigEndian(_ word: UInt64) -> [UInt8] {
    (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64(56 - 8 * $0)) }
  }
}
