import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Qcow2
import Testing

/// Changing the properties of an image that has data.
@Suite struct AmendTests {
  private static let size = 2 << 20

  /// Runs `body` on an image that is written here and there, and has zero clusters.
  private func withImage(
    _ change: (inout NewImageOptions) -> Void = { _ in }, backed: Bool = false,
    _ body: @escaping @Sendable (ImageFixture, BlockBackend, [UInt8]) async throws -> Void
  ) async throws {
    let world = World.simulated(seed: 4)
    var options = NewImageOptions(virtualSize: Self.size)
    options.clusterSize = 4096
    change(&options)
    if backed {
      options.backingFileName = "base"
      options.backingFormat = "raw"
    }
    let made = options
    try await world.run { () async throws in
      let image = try await ImageFixture.create(made, in: world, discard: .unmap)
      var base: BlockNode?
      if backed {
        let node = try image.graph.addNode(MemoryDriver(length: Self.size), name: "base")
        let bytes = [UInt8](repeating: 0xbb, count: Self.size)
        try await node.write(ByteRange(0, Self.size), from: bytes.span.bytes)
        base = node
      }
      let disk = try await image.open(backing: base)
      for index in 0..<40 {
        try await disk.fill(UInt8(index + 1), at: index * 50_000, count: 30_000)
      }
      if made.version == .v3 {
        try await disk.writeZeroes(ByteRange(100_000, 200_000))
        try await disk.writeZeroes(ByteRange(900_000, 1_000_000), mayUnmap: true)
        try await disk.writeZeroes(ByteRange(Self.size - 5000, Self.size), mayUnmap: true)
      }
      try await disk.flush()
      let contents = try await disk.read(at: 0, count: disk.length)
      try await body(image, disk, contents)
    }
  }

  private static func expectSound(
    _ disk: BlockBackend, _ contents: [UInt8], _ comment: Comment
  ) async throws {
    let driver = try #require(disk.node.driver as? Qcow2Driver)
    try await disk.flush()
    let result = try await driver.check()
    #expect(result.isClean, "\(comment): \(result.findings.map(\.message))")
    let found = try await disk.read(at: 0, count: contents.count)
    #expect(found.span.bytes.firstDifference(from: contents.span.bytes) == nil, comment)
  }

  private static func amend(
    _ disk: BlockBackend, _ change: (inout AmendOptions) -> Void
  ) async throws {
    var options = AmendOptions()
    change(&options)
    try await disk.node.amend(options)
  }

  private static func refusal(
    _ disk: BlockBackend, _ change: (inout AmendOptions) -> Void
  ) async -> String? {
    do {
      try await amend(disk, change)
      return nil
    } catch {
      return (error as? BlockError)?.message
    }
  }

  @Test(arguments: [512, 4096, 65536])
  func refcountsTakeEveryWidthInTurn(clusterSize: Int) async throws {
    try await withImage({ $0.clusterSize = clusterSize }) { image, disk, contents in
      var contents = contents
      for (round, bits) in [64, 1, 2, 32, 4, 8, 16, 64, 16].enumerated() {
        try await Self.amend(disk) { $0.refcountBits = bits }
        try await Self.expectSound(disk, contents, "\(bits) bits")
        // It goes on with the new width.
        try await disk.fill(UInt8(0x80 + round), at: round * 200_000, count: 100_000)
        for index in round * 200_000..<round * 200_000 + 100_000 {
          contents[index] = UInt8(0x80 + round)
        }
        try await disk.resize(to: contents.count + 4096)
        contents += [UInt8](repeating: 0, count: 4096)
        try await Self.expectSound(disk, contents, "\(bits) bits, written")
      }
      try await image.close(disk)
      let reader = try await image.open(readOnly: true)
      try await Self.expectSound(reader, contents, "reopened")
    }
  }

  @Test func aRefcountThatDoesNotFitForbidsTheWidth() async throws {
    try await withImage { image, disk, contents in
      try await image.close(disk)
      // The L1 table, cluster 3, is counted three times.
      try await image.patch([0, 3], at: 0x2000 + 6)
      let length = image.disk.length
      let again = try await image.open()
      let refusal = await Self.refusal(again) { $0.refcountBits = 1 }
      #expect(
        refusal
          == "Cannot decrease refcount entry width to 1 bits: Cluster at offset 0x3000 has a "
          + "refcount of 3")
      #expect(image.disk.length == length)
      try await Self.amend(again) { $0.refcountBits = 2 }
      try await image.close(again)
    }
  }

  @Test(arguments: [false, true])
  func version2HasNoZeroClusters(backed: Bool) async throws {
    try await withImage(backed: backed) { image, disk, contents in
      try await Self.amend(disk) { $0.version = .v2 }
      #expect(try await image.bytes(at: 4, count: 4) == [0, 0, 0, 2])
      // Golden fact G24.
      #expect(try await image.bytes(at: 72, count: 8) == [0, 0, 0, 0, 0, 0, 0, 0] || backed)
      try await Self.expectSound(disk, contents, "version 2")
      try await Self.amend(disk) {
        $0.version = .v3
        $0.refcountBits = 8
        $0.hasLazyRefcounts = true
        $0.virtualSize = Self.size + 4096
      }
      let grown = contents + [UInt8](repeating: 0, count: 4096)
      try await Self.expectSound(disk, grown, "version 3 again")
      let driver = try #require(disk.node.driver as? Qcow2Driver)
      let information = try await driver.information()
      #expect(information.version == .v3 && information.refcountBits == 8)
      #expect(try await image.bytes(at: 80, count: 8) == [0, 0, 0, 0, 0, 0, 0, 1])
      try await Self.amend(disk) {
        $0.version = .v2
        $0.refcountBits = 16
        $0.hasLazyRefcounts = false
      }
      try await Self.expectSound(disk, grown, "version 2 again")
      try await image.close(disk)
    }
  }

  @Test func aVersion2ImageTellsItsSizeWithoutFeatureWords() async throws {
    try await withImage { image, disk, _ in
      try await Self.amend(disk) { $0.version = .v2 }
      let header = try await image.bytes(at: 0, count: 4096)
      #expect(header[72...].allSatisfy { $0 == 0 })
      try await image.close(disk)
    }
  }

  @Test func whatCannotBeChangedIsRefusedAndNothingIsChanged() async throws {
    let later = "(use compat=1.1 or greater)"
    try await withImage({ $0.refcountBits = 8 }) { image, disk, _ in
      let header = try await image.bytes(at: 0, count: 4096)
      let refusals: [(String, @Sendable (inout AmendOptions) -> Void)] = [
        ("compat=0.10 requires refcount_bits=16", { $0.version = .v2 }),
        (
          "compat=0.10 requires refcount_bits=16",
          {
            $0.version = .v2
            $0.refcountBits = 8  // as it is
          }
        ),
        (
          "Refcount width must be a power of two and may not exceed 64 bits",
          { $0.refcountBits = 3 }
        ),
        (
          "Refcount width must be a power of two and may not exceed 64 bits",
          { $0.refcountBits = 128 }
        ),
        (
          "Refcount widths other than 16 bits require compatibility level 1.1 or above \(later)",
          {
            $0.version = .v2
            $0.refcountBits = 4
          }
        ),
        (
          "Lazy refcounts only supported with compatibility level 1.1 and above \(later)",
          {
            $0.version = .v2
            $0.refcountBits = 16
            $0.hasLazyRefcounts = true
          }
        ),
        (
          "data-file can only be set for images that use an external data file",
          { $0.dataFileName = "x" }
        ),
        ("data-file-raw cannot be set on existing images", { $0.isDataFileRaw = true }),
        (
          "Amending does not shrink an image: resize it, and allow shrinking",
          { $0.virtualSize = 512 }
        ),
      ]
      for (message, change) in refusals {
        #expect(await Self.refusal(disk, change) == message)
      }
      #expect(try await image.bytes(at: 0, count: 4096) == header)
      #expect(await Self.refusal(disk) { $0.isDataFileRaw = false } == nil)
      try await image.close(disk)
    }
  }

  @Test func bitmapsForbidVersion2() async throws {
    try await withImage { image, disk, _ in
      try disk.node.addBitmap("b", granularity: 65536, persistent: true)
      let text = "Cannot downgrade an image with persistent bitmaps: remove them first"
      #expect(await Self.refusal(disk) { $0.version = .v2 } == text)
      try await image.close(disk)
      let again = try await image.open()
      #expect(await Self.refusal(again) { $0.version = .v2 } == text)
      try await again.node.removeBitmap("b")
      #expect(await Self.refusal(again) { $0.version = .v2 } == nil)
      try await image.close(again)
    }
  }
}
