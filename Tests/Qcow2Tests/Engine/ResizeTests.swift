import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Qcow2
import Testing

/// What a disk shows, and what its file has, when its size changes.
@Suite struct ResizeTests {
  private static let cluster = 4096

  /// Runs `body` on an image of `count` clusters of 4096 bytes.
  private func withImage(
    clusters count: Int = 256, _ change: (inout NewImageOptions) -> Void = { _ in },
    _ body: @escaping @Sendable (ImageFixture) async throws -> Void
  ) async throws {
    let world = World.simulated(seed: 3)
    var options = NewImageOptions(virtualSize: count * Self.cluster)
    options.clusterSize = Self.cluster
    change(&options)
    let made = options
    try await world.run { () async throws in
      try await body(try await ImageFixture.create(made, in: world, discard: .unmap))
    }
  }

  private static func check(_ door: BlockBackend) async throws -> ImageCheck {
    let driver = try #require(door.node.driver as? Qcow2Driver)
    return try await driver.check()
  }

  @Test func shrinkingHasToBeAllowed() async throws {
    try await withImage { image in
      let disk = try await image.open()
      let error = await #expect(throws: BlockError.self) { try await disk.resize(to: 512) }
      #expect(error?.code == .invalidArgument && disk.length == 256 * Self.cluster)
      let both = await #expect(throws: BlockError.self) {
        try await disk.resize(to: 512, mayShrink: true, preallocation: .full)
      }
      #expect(both?.message == "Preallocation can only be used for growing images")
      let odd = await #expect(throws: BlockError.self) {
        try await disk.resize(to: 1000, mayShrink: true)
      }
      #expect(odd?.message == "The new size must be a multiple of 512")
      try await image.close(disk)
    }
  }

  @Test func bytesThatWereCutOffNeverComeBack() async throws {
    // Golden fact G26, where QEMU shows them again.
    try await withImage { image in
      let disk = try await image.open()
      try await disk.fill(0xab, at: 0, count: 256 * Self.cluster)
      try await disk.resize(to: 100 << 10 + 512, mayShrink: true)
      try await disk.resize(to: 256 * Self.cluster)
      let bytes = try await disk.read(at: 0, count: disk.length)
      let end = 100 << 10 + 512
      #expect(bytes[..<end].allSatisfy { $0 == 0xab } && bytes[end...].allSatisfy { $0 == 0 })
      try await image.close(disk)
    }
  }

  @Test func theRestOfTheLastClusterIsZeroInTheFileToo() async throws {
    try await withImage { image in
      let disk = try await image.open()
      try await disk.fill(0xab, at: 0, count: Self.cluster)
      try await disk.resize(to: 512, mayShrink: true)
      let place = try #require(try await disk.node.driver.status(ByteRange(0, 512)).offset)
      let bytes = try await image.bytes(at: place, count: Self.cluster)
      #expect(bytes[..<512].allSatisfy { $0 == 0xab } && bytes[512...].allSatisfy { $0 == 0 })
      try await image.close(disk)
    }
  }

  @Test func shrinkingGivesTheFilesEndBack() async throws {
    try await withImage(clusters: 4096) { image in
      let empty = image.disk.length
      let disk = try await image.open()
      try await disk.fill(1, at: 0, count: 4096 * Self.cluster)
      try await disk.flush()
      let full = image.disk.length
      #expect(full > 4096 * Self.cluster)
      try await disk.resize(to: 4 * Self.cluster, mayShrink: true)
      #expect(image.disk.length <= empty + 8 * Self.cluster)
      #expect(try await Self.check(disk).isClean)
      try await disk.resize(to: 0, mayShrink: true)
      #expect(image.disk.length <= empty + 2 * Self.cluster)
      try await disk.resize(to: 4096 * Self.cluster)
      try await disk.fill(2, at: 0, count: 4096 * Self.cluster)
      try await image.close(disk)
      #expect(image.disk.length <= full + Self.cluster)
      #expect(try await Self.check(try await image.open(readOnly: true)).isClean)
    }
  }

  @Test func refcountBlocksThatCountNothingGo() async throws {
    // A block counts 64 clusters of 512 bytes.
    try await withImage(
      clusters: 1,
      {
        $0.clusterSize = 512
        $0.refcountBits = 64
        $0.virtualSize = 1 << 20
      }
    ) { image in
      let disk = try await image.open()
      try await disk.fill(1, at: 0, count: 1 << 20)
      try await disk.flush()
      func blocks() async throws -> Int {
        let table = try await image.words(at: 48, count: 1)[0]
        return try await image.words(at: Int(table), count: 64).count { $0 != 0 }
      }
      let before = try await blocks()
      try await disk.resize(to: 512, mayShrink: true)
      #expect(before == 34)
      #expect(try await blocks() == 1)
      #expect(try await Self.check(disk).isClean)
      try await image.close(disk)
    }
  }

  @Test func whatACrashLeftMappedBeyondTheEndIsTakenAway() async throws {
    try await withImage { image in
      let disk = try await image.open()
      try await disk.fill(0xab, at: 0, count: 256 * Self.cluster)
      try await image.close(disk)
      // Shrinking got no further than to the new size.
      try await image.patch([0, 0, 0, 0, 0, 0, 0x30, 0], at: 24)
      let cut = try await image.open()
      #expect(cut.length == 0x3000)
      #expect(try await Self.check(cut).isClean)
      try await cut.resize(to: 300 * Self.cluster)
      let bytes = try await cut.read(at: 0, count: cut.length)
      #expect(bytes[..<0x3000].allSatisfy { $0 == 0xab })
      #expect(bytes[0x3000...].allSatisfy { $0 == 0 })
      try await cut.flush()
      #expect(try await Self.check(cut).isClean)
      try await image.close(cut)
    }
  }

  @Test(arguments: [Preallocation.metadata, .falloc, .full])
  func growthWithPreallocationMapsWhatIsNew(mode: Preallocation) async throws {
    try await withImage { image in
      let disk = try await image.open()
      try await disk.fill(0xab, at: 0, count: disk.length)
      try await disk.resize(to: 2048 * Self.cluster, preallocation: mode)
      let new = ByteRange(256 * Self.cluster, 2048 * Self.cluster)
      let status = try await disk.node.driver.status(new)
      #expect(status.isData && status.offset != nil)
      try await disk.flush()
      #expect(try await Self.check(disk).allocatedClusters == 2048)
      let bytes = try await disk.read(at: new.lower, count: new.count)
      #expect(bytes.allSatisfy { $0 == 0 })
      #expect(image.disk.length > 2048 * Self.cluster)
      try await image.close(disk)
      #expect(try await Self.check(try await image.open(readOnly: true)).isClean)
    }
  }

  @Test(arguments: [Preallocation.metadata, .falloc, .full], [1, 16, 64])
  func newImagesHaveAPlaceForEverythingAtOnce(mode: Preallocation, bits: Int) async throws {
    try await withImage(
      clusters: 3000,
      {
        $0.preallocation = mode
        $0.refcountBits = bits
      }
    ) { image in
      let disk = try await image.open()
      let result = try await Self.check(disk)
      #expect(result.isClean && result.allocatedClusters == 3000)
      #expect(result.fragmentedClusters == 0)
      let length = image.disk.length
      try await disk.fill(7, at: 0, count: disk.length)
      try await image.close(disk)
      #expect(image.disk.length == length, "nothing was allocated for writing")
    }
  }

  @Test func snapshotsKeepWhatTheDiskLoses() async throws {
    try await withImage { image in
      let disk = try await image.open()
      let driver = try #require(disk.node.driver as? Qcow2Driver)
      try await disk.fill(0xab, at: 0, count: 256 * Self.cluster)
      try await image.graph.createSnapshot(named: "s", of: disk.node)
      try await disk.resize(to: 3 * Self.cluster + 512, mayShrink: true)
      #expect(try await driver.check().isClean)
      try await disk.resize(to: 512 * Self.cluster)
      try await disk.fill(0xcd, at: 100 * Self.cluster, count: 50 * Self.cluster)
      try await disk.flush()
      #expect(try await driver.check().isClean)
      try await image.graph.applySnapshot(.name("s"), to: disk.node)
      #expect(disk.length == 256 * Self.cluster)
      let bytes = try await disk.read(at: 0, count: disk.length)
      #expect(bytes.allSatisfy { $0 == 0xab })
      var wide = AmendOptions()
      wide.refcountBits = 64
      try await disk.node.amend(wide)
      #expect(try await driver.check().isClean)
      try await image.close(disk)
    }
  }

  @Test func aVersion2ImageWithSnapshotsKeepsItsSize() async throws {
    try await withImage({ $0.version = .v2 }) { image in
      let disk = try await image.open()
      try await image.graph.createSnapshot(named: "s", of: disk.node)
      for length in [512, 512 * Self.cluster] {
        let error = await #expect(throws: BlockError.self) {
          try await disk.resize(to: length, mayShrink: true)
        }
        #expect(error?.message == "Can't resize a v2 image which has snapshots")
      }
      try await image.close(disk)
    }
  }
}
