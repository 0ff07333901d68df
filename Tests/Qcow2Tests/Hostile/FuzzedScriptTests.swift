import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Qcow2
import Testing

/// Sequences of requests that the fuzzer found, on sound images.
@Suite struct FuzzedScriptTests {
  @Test func compressedClustersAfterASnapshotWasAppliedHarmNoData() async throws {
    let world = World.simulated(seed: 1)
    try await world.run { () async throws in
      var options = NewImageOptions(virtualSize: 64 << 10)
      options.clusterSize = 512
      options.refcountBits = 64
      let image = try await ImageFixture.create(options, in: world)
      let door = try await image.open()
      for place in [0, 4096, 33280] { try await door.fill(7, at: place, count: 3072) }
      try await door.writeZeroes(ByteRange(8192, 24576))
      try await image.close(door)
      let disk = try await image.open()
      try await image.graph.createSnapshot(named: "s", of: disk.node)
      try await disk.resize(to: 3584, mayShrink: true)
      let first = ByteRange(offset: 2048, count: 1536)
      try await disk.node.writeCompressed(
        first, from: [UInt8](repeating: 0x69, count: first.count).span.bytes)
      try await image.graph.applySnapshot(.id("1"), to: disk.node)
      try await disk.fill(22, at: 33 * 512, count: 24 * 512)
      let second = ByteRange(offset: 114 * 512, count: 512)
      try await disk.node.writeCompressed(
        second, from: [UInt8](repeating: 9, count: 512).span.bytes)
      let bytes = try await disk.read(at: 33 * 512, count: 24 * 512)
      #expect(bytes.firstIndex { $0 != 22 } == nil)
      try await image.graph.deleteSnapshot(.id("1"), of: disk.node)
      try await image.close(disk)
      let again = try await image.open(readOnly: true)
      let after = try await again.read(at: 33 * 512, count: 24 * 512)
      #expect(after.firstIndex { $0 != 22 } == nil)
      try await image.close(again)
    }
  }
}
