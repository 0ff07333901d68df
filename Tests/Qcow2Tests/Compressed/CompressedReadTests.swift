import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Testing

@testable import Qcow2

/// Reading compressed clusters that others have written.
@Suite struct CompressedReadTests {
  /// Entries as qemu-img wrote them, with the number of bytes that a stream may have there.
  static let worked: [(clusterSize: Int, entry: UInt64, byteCount: Int)] = [
    (512, 0x4000_0000_0000_0a00, 512), (512, 0x6000_0000_0000_0bbf, 577),
    (1024, 0x5000_0000_0000_1521, 735), (4096, 0x4800_0000_0000_5477, 1417),
    (65536, 0x4880_0000_0005_445a, 17830), (1 << 20, 0x4888_0000_0054_442c, 280_020),
    (2 << 20, 0x4888_0000_00a0_0000, 559_616),
  ]

  /// An image of one cluster and a bit whose first cluster is a stream of ours, in the place that
  /// `entry` names.
  private func withImage(
    clusterSize: Int, entry: UInt64, stream: [UInt8], in world: World,
    _ body: @escaping @Sendable (ImageFixture, BlockBackend) async throws -> Void
  ) async throws {
    try await world.run { () async throws in
      var options = NewImageOptions(virtualSize: clusterSize + 512)
      options.clusterSize = clusterSize
      let image = try await ImageFixture.create(options, in: world)
      let writer = try await image.open()
      try await writer.writeZeroes(ByteRange(offset: clusterSize, count: 512))
      try await image.close(writer)
      try await image.plant(stream, entry, at: 0, clusterSize: clusterSize)
      try await body(image, try await image.open(readOnly: true))
    }
  }

  /// A cluster whose stream fills `byteCount` bytes, or nearly.
  private func sample(_ clusterSize: Int, filling byteCount: Int) throws -> (
    cluster: [UInt8], stream: [UInt8]
  ) {
    var random = SeededGenerator(seed: 1)
    let noise = min(byteCount, clusterSize) * 7 / 8 - 32
    var cluster = (0..<noise).map { _ in random.next(upperBound: UInt8.max) }
    cluster += [UInt8](repeating: 0x41, count: clusterSize - noise)
    let codec = ClusterCodec(.deflate, clusterSize: clusterSize)
    guard case .stream(let stream) = try codec.compressed(cluster.span.bytes),
      stream.count <= byteCount
    else { return (cluster, []) }
    return (cluster, stream)
  }

  @Test(arguments: worked.indices)
  func theWorkedExamplesAreRead(index: Int) async throws {
    let (clusterSize, entry, byteCount) = Self.worked[index]
    let (cluster, stream) = try sample(clusterSize, filling: byteCount)
    #expect(stream.count > byteCount * 3 / 5)
    let world = World.simulated(seed: 1)
    try await withImage(clusterSize: clusterSize, entry: entry, stream: stream, in: world) {
      _, disk in
      // The file ends with the stream, in the middle of its last sector.
      #expect(try await disk.read(at: 0, count: clusterSize) == cluster)
      #expect(try await disk.read(at: 100, count: 300) == Array(cluster[100..<400]))
      let across = try await disk.read(at: clusterSize - 7, count: 107)
      #expect(across == Array(cluster.suffix(7)) + [UInt8](repeating: 0, count: 100))
    }
  }

  @Test func aStreamOutsideOfTheFileIsCorrupt() async throws {
    let world = World.simulated(seed: 1)
    try await withImage(clusterSize: 65536, entry: 0x4880_0000_0005_445a, stream: [], in: world) {
      image, disk in
      #expect(image.file.length <= 0x5445a)
      await #expect(throws: BlockError(.corrupt, "")) { try await disk.read(at: 0, count: 512) }
      let next = try await disk.read(at: 65536, count: 1)
      #expect(next == [0], "the rest of the image is well")
    }
  }

  @Test func aStreamThatItsDescriptorCutsOffIsAnError() async throws {
    let (cluster, stream) = try sample(65536, filling: 17830)
    let world = World.simulated(seed: 1)
    // A sector less than the stream needs.
    let sectors = UInt64((stream.count + 90 - 1) / 512 - 1)
    let entry = 0x4000_0000_0005_445a | sectors << 54
    try await withImage(clusterSize: 65536, entry: entry, stream: stream, in: world) {
      _, disk in
      await #expect(throws: BlockError(.io, "")) { try await disk.read(at: 0, count: 512) }
      await #expect(throws: BlockError(.io, "")) { try await disk.read(at: 0, count: 65536) }
    }
    #expect(!cluster.isEmpty)
  }

  @Test func aClusterIsDecompressedOnceForReadsOfItsParts() async throws {
    let (cluster, stream) = try sample(65536, filling: 17830)
    let world = World.simulated(seed: 1)
    try await withImage(
      clusterSize: 65536, entry: 0x4880_0000_0005_445a, stream: stream, in: world
    ) { image, disk in
      _ = try await disk.read(at: 0, count: 512)
      let before = image.disk.count(of: [.read])
      for offset in stride(from: 0, to: 65536, by: 4096) {
        let part = try await disk.read(at: offset, count: 4096)
        #expect(part == Array(cluster[offset..<offset + 4096]))
      }
      #expect(image.disk.count(of: [.read]) == before)
    }
  }

  @Test func theClustersThatAreKeptAreBounded() {
    let kept = DecompressedClusters(clusterSize: 65536)
    let limit = Qcow2Limits.decompressedClusters.upperBound
    func descriptor(_ index: Int) -> CompressedDescriptor? {
      CompressedDescriptor(
        hostOffset: HostOffset((index + 1) << 16), byteCount: 100, clusterBits: 16)
    }
    for index in 0..<limit + 10 {
      guard let descriptor = descriptor(index) else { continue }
      kept.insert([], of: descriptor)
    }
    let found = (0..<limit + 10).filter { index in
      descriptor(index).flatMap { kept.cluster(of: $0) } != nil
    }
    #expect(found == Array(10..<limit + 10), "the oldest went")
    kept.forget(hostCluster: 21)
    #expect(descriptor(20).flatMap { kept.cluster(of: $0) } == nil)
    #expect(descriptor(21).flatMap { kept.cluster(of: $0) } != nil)
  }
}
