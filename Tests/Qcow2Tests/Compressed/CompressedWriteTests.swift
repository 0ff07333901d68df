import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Testing

@testable import Qcow2

/// Compressed writes, and what becomes of compressed clusters.
@Suite struct CompressedWriteTests {
  private static let size = 4096

  /// Runs `body` on a new image of 64 clusters of 4 KiB.
  private func withImage(
    refcountBits: Int = 16, virtualSize: Int = 64 * size, faults: FaultPlan = .none,
    _ body: @escaping @Sendable (ImageFixture, BlockBackend) async throws -> Void
  ) async throws {
    let world = World.simulated(seed: 3)
    try await world.run { () async throws in
      var options = NewImageOptions(virtualSize: virtualSize)
      options.clusterSize = Self.size
      options.refcountBits = refcountBits
      let image = try await ImageFixture.create(options, in: world, discard: .unmap)
      try await body(image, try await image.open())
    }
  }

  /// Bytes that become about `half` of a cluster, plus a bit.
  private static func sample(_ seed: Int, noise: Int = 1000, count: Int = size) -> [UInt8] {
    var random = SeededGenerator(seed: UInt64(seed))
    return (0..<count).map { index in
      index < noise ? random.next(upperBound: UInt8.max) : UInt8(seed & 0x7f)
    }
  }

  private static func refcount(_ disk: BlockBackend, _ cluster: Int) async throws -> UInt64 {
    let driver = try #require(disk.node.driver as? Qcow2Driver)
    return try await driver.withRefcounts { tables throws(BlockError) in
      try tables.refcount(cluster)
    }
  }

  @Test func streamsArePackedAndEachHoldsAReferenceToItsHostClusters() async throws {
    try await withImage { image, disk in
      for index in 0..<9 { try await disk.writeCompressed(Self.sample(index), at: index * 4096) }
      try await disk.flush()
      var end: Int?
      var expected: [Int: UInt64] = [:]
      for index in 0..<9 {
        let place = try #require(try await image.descriptor(index, clusterSize: 4096))
        if let end {
          let codec = ClusterCodec(.deflate, clusterSize: 4096)
          #expect(place.hostOffset.value == end, "packed byte to byte")
          #expect(codec.longestStream == 4095)
        }
        let stream = try Self.stream(Self.sample(index))
        end = place.hostOffset.value + stream.count
        for cluster in place.touchedClusters { expected[cluster.value, default: 0] += 1 }
      }
      #expect(expected.count == 3, "nine streams of a quarter of a cluster")
      for (cluster, count) in expected {
        #expect(try await Self.refcount(disk, cluster) == count)
      }
      try await image.close(disk)
      let check = try await image.check()
      #expect(check.isClean && check.compressedClusters == 9)
      let reader = try await image.open(readOnly: true)
      for index in 0..<9 {
        #expect(try await reader.read(at: index * 4096, count: 4096) == Self.sample(index))
      }
    }
  }

  private static func stream(_ cluster: [UInt8]) throws -> [UInt8] {
    let codec = ClusterCodec(.deflate, clusterSize: cluster.count)
    guard case .stream(let stream) = try codec.compressed(cluster.span.bytes) else { return [] }
    return stream
  }

  @Test(arguments: [1, 2])
  func noHostClusterGetsMoreStreamsThanItsRefcountCanCount(bits: Int) async throws {
    try await withImage(refcountBits: bits) { image, disk in
      for index in 0..<12 {
        try await disk.writeCompressed(Self.sample(index, noise: 100), at: index * 4096)
      }
      try await image.close(disk)
      let check = try await image.check()
      #expect(check.isClean && check.compressedClusters == 12, "\(check.messages)")
      var counts: [Int: Int] = [:]
      for index in 0..<12 {
        let place = try #require(try await image.descriptor(index, clusterSize: 4096))
        for cluster in place.touchedClusters { counts[cluster.value, default: 0] += 1 }
      }
      #expect(counts.values.max() == 1 << bits - 1)
    }
  }

  @Test func zerosBecomeZeroClustersAndNoiseIsWrittenAsItIs() async throws {
    try await withImage { image, disk in
      let noise = Self.sample(1, noise: 4096)
      let request = [UInt8](repeating: 0, count: 4096) + noise + Self.sample(2)
      try await disk.writeCompressed(request, at: 4096)
      try await disk.flush()
      #expect(try await image.entry(1) == .zeroPlain)
      #expect(try await image.entry(2).isCopied)
      #expect(try await image.entry(3).isCompressed)
      #expect(try await disk.read(at: 4096, count: 3 * 4096) == request)
      try await image.close(disk)
      #expect(try await image.check().isClean)
    }
  }

  @Test func theDisksLastShortClusterIsPaddedWithZeros() async throws {
    try await withImage(virtualSize: 4096 + 1536) { image, disk in
      let bytes = Self.sample(1, count: 4096) + Self.sample(2, noise: 500, count: 1536)
      try await disk.writeCompressed(bytes, at: 0)
      #expect(try await disk.read(at: 0, count: bytes.count) == bytes)
      try await disk.flush()
      #expect(try await image.entry(1).isCompressed)
      try await disk.resize(to: 2 * 4096)
      #expect(
        try await disk.read(at: 4096 + 1536, count: 2560) == [UInt8](repeating: 0, count: 2560))
      try await image.close(disk)
      #expect(try await image.check().isClean)
    }
  }

  @Test func aPartialWriteKeepsTheRestOfACompressedCluster() async throws {
    try await withImage { image, disk in
      for index in 0..<3 { try await disk.writeCompressed(Self.sample(index), at: index * 4096) }
      try await disk.flush()
      try await disk.fill(0xaa, at: 4096 + 512, count: 1024)
      var expected = Self.sample(1)
      expected.replaceSubrange(512..<1536, with: [UInt8](repeating: 0xaa, count: 1024))
      #expect(try await disk.read(at: 4096, count: 4096) == expected)
      #expect(try await disk.read(at: 0, count: 4096) == Self.sample(0))
      try await image.close(disk)
      #expect(try await image.entry(1).isCopied)
      let check = try await image.check()
      #expect(check.isClean && check.compressedClusters == 2, "\(check.messages)")
    }
  }

  @Test func aCompressedClusterIsWrittenCompressedAgain() async throws {
    try await withImage { image, disk in
      for round in 0..<20 {
        try await disk.writeCompressed(Self.sample(round), at: 0)
        #expect(try await disk.read(at: 0, count: 512) == Array(Self.sample(round)[..<512]))
        if round % 3 == 0 { try await disk.flush() }
      }
      try await image.close(disk)
      let check = try await image.check()
      #expect(check.isClean && check.compressedClusters == 1, "\(check.messages)")
    }
  }

  @Test func aHostClusterGivesItsSpaceBackWhenItsLastStreamGoes() async throws {
    try await withImage { image, disk in
      // Three streams in one host cluster.
      for index in 0..<3 { try await disk.writeCompressed(Self.sample(index), at: index * 4096) }
      try await disk.flush()
      let place = try #require(try await image.descriptor(0, clusterSize: 4096))
      let host = place.touchedClusters.lowerBound.value
      for index in 0..<3 {
        #expect(try await Self.refcount(disk, host) == UInt64(3 - index))
        #expect(image.disk.count(of: [.discard]) == 0, "others still refer to it")
        for rest in index..<3 {
          let head = Array(Self.sample(rest)[..<512])
          #expect(try await disk.read(at: rest * 4096, count: 512) == head)
        }
        try await disk.discard(ByteRange(offset: index * 4096, count: 4096))
        for _ in 0..<2 { try await disk.flush() }
      }
      #expect(try await Self.refcount(disk, host) == 0)
      #expect(image.disk.count(of: [.discard]) == 1)
      // What is written now must not be appended to the cluster that was freed.
      try await disk.fill(7, at: 8 * 4096, count: 4096)
      try await disk.writeCompressed(Self.sample(9), at: 9 * 4096)
      #expect(try await disk.read(at: 8 * 4096, count: 4096) == [UInt8](repeating: 7, count: 4096))
      try await image.close(disk)
      #expect(try await image.check().isClean)
    }
  }

  @Test func aReadNeverFindsTheClusterThatUsedToBeInItsPlace() async throws {
    try await withImage { image, disk in
      // Streams of the same length take the same place again and again.
      for round in 0..<30 {
        let bytes = Self.sample(round, noise: 0)
        try await disk.writeCompressed(bytes, at: 0)
        #expect(try await disk.read(at: 1024, count: 512) == Array(bytes[1024..<1536]))
        try await disk.discard(ByteRange(0, 4096))
        for _ in 0..<2 { try await disk.flush() }
      }
      try await image.close(disk)
      #expect(try await image.check().isClean)
    }
  }

  @Test func aStreamThatCannotBeWrittenLeavesNothingBehind() async throws {
    try await withImage { image, disk in
      try await disk.writeCompressed(Self.sample(1), at: 0)
      try await disk.flush()
      image.disk.faults = .failing([.write], nth: 1)
      await #expect(throws: BlockError.self) {
        try await disk.writeCompressed(Self.sample(2), at: 4096)
      }
      image.disk.faults = .none
      #expect(try await disk.read(at: 4096, count: 4096).allSatisfy { $0 == 0 })
      try await disk.writeCompressed(Self.sample(3), at: 8192)
      try await image.close(disk)
      let check = try await image.check()
      #expect(check.isClean && check.compressedClusters == 2)
    }
  }

  @Test func aDamagedStreamCostsItsClusterAlone() async throws {
    try await withImage { image, disk in
      for index in 0..<2 { try await disk.writeCompressed(Self.sample(index), at: index * 4096) }
      try await disk.flush()
      let place = try #require(try await image.descriptor(0, clusterSize: 4096))
      try await image.patch([0xff, 0xff, 0xff], at: place.hostOffset.value)
      await #expect(throws: BlockError(.io, "")) { try await disk.fill(1, at: 512, count: 512) }
      #expect(try await disk.read(at: 4096, count: 4096) == Self.sample(1))
      try await disk.fill(2, at: 0, count: 4096)
      #expect(try await disk.read(at: 0, count: 4096) == [UInt8](repeating: 2, count: 4096))
      try await image.close(disk)
      #expect(try await image.check().isClean)
    }
  }

  @Test func snapshotsShareStreams() async throws {
    try await withImage { image, disk in
      for index in 0..<6 { try await disk.writeCompressed(Self.sample(index), at: index * 4096) }
      _ = try await image.graph.createSnapshot(named: "one", of: disk.node)
      try await disk.writeCompressed(Self.sample(20), at: 0)
      try await disk.fill(3, at: 4096 + 100, count: 50)
      try await disk.discard(ByteRange(offset: 2 * 4096, count: 4096))
      _ = try await image.graph.createSnapshot(named: "two", of: disk.node)
      try await image.graph.applySnapshot(.name("one"), to: disk.node)
      for index in 0..<6 {
        #expect(try await disk.read(at: index * 4096, count: 4096) == Self.sample(index))
      }
      try await disk.writeCompressed(Self.sample(30), at: 5 * 4096)
      try await image.graph.deleteSnapshot(.name("one"), of: disk.node)
      try await image.graph.applySnapshot(.name("two"), to: disk.node)
      #expect(try await disk.read(at: 0, count: 4096) == Self.sample(20))
      #expect(try await disk.read(at: 5 * 4096, count: 4096) == Self.sample(5))
      try await image.graph.deleteSnapshot(.name("two"), of: disk.node)
      try await image.close(disk)
      let check = try await image.check()
      #expect(check.isClean && check.compressedClusters == 4, "\(check.messages)")
    }
  }

  @Test func anImageWithADataFileHasNoCompressedClusters() async throws {
    try await withImage { image, disk in
      try await image.close(disk)
      try await image.moveDataOut(isRaw: false)
      let data = try image.graph.addNode(SimulatedDisk(in: image.world), name: "data")
      let door = try await image.open(dataFile: data)
      await #expect(throws: BlockError(.unsupported, "")) {
        try await door.writeCompressed(Self.sample(1), at: 0)
      }
      #expect(try await door.read(at: 0, count: 4096).allSatisfy { $0 == 0 })
      try await image.close(door)
    }
  }

  @Test func statusSaysThatAClusterIsCompressed() async throws {
    try await withImage { _, disk in
      try await disk.writeCompressed(Self.sample(1) + Self.sample(2), at: 0)
      let status = try await disk.node.driver.status(ByteRange(0, 64 * 4096))
      #expect(status.isCompressed && status.isData && status.isAllocated)
      #expect(status.count == 4096 && status.offset == nil)
    }
  }
}
