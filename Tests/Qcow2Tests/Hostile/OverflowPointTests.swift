import BlockLayer
import Execution
import Primitives
import Qcow2
import Testing

/// Every place where numbers of an image are multiplied, shifted or added, with numbers for which
/// the result has no room.
@Suite struct OverflowPointTests {
  typealias Change = @Sendable (inout HostileImage) -> Void

  /// One place.
  struct Point: Sendable, CustomTestStringConvertible {
    let testDescription: String
    /// Whether nobody may open the image at all.
    var isRefused = true
    let change: Change

    init(_ name: String, isRefused: Bool = true, _ change: @escaping Change) {
      testDescription = name
      self.isRefused = isRefused
      self.change = change
    }
  }

  static let header: [Point] = [
    Point("L1 entries · 8") { $0.set(UInt32.max, at: 36) },
    Point("L1 entries · 8 within the limit, beyond the file") { $0.set(UInt32(1 << 22), at: 36) },
    Point("refcount table clusters · cluster size") { $0.set(UInt32.max, at: 56) },
    Point("snapshots · 40") { $0.set(UInt32.max, UInt32(0), UInt32(512), at: 60) },
    Point("offset + size of the L1 table") { $0.set(UInt64.max - 511, at: 40) },
    Point("offset + size of the L1 table, signed") { $0.set(UInt64(1) << 63 - 512, at: 40) },
    Point("offset + size of the refcount table") { $0.set(UInt64(1) << 63 - 512, at: 48) },
    Point("offset + size of the snapshot table") {
      $0.set(UInt32(1), UInt32(0x7fff_ffff), UInt32(0xffff_fe00), at: 60)
    },
    Point("L1 entries for a size near 2^63") { $0.set(UInt64(1) << 63 - 512, at: 24) },
    Point("L1 entries for a size beyond 2^63") { $0.set(UInt64.max - 511, at: 24) },
    Point("a size near 2^63, rounded up to clusters of 2 MiB") {
      $0.set(UInt32(21), UInt64(1) << 63 - 512, at: 20)
    },
    Point("backing file offset + size") { $0.set(UInt64(500), UInt32.max, at: 8) },
    Point("backing file offset") { $0.set(UInt64.max, UInt32(1), at: 8) },
    Point("refcount order as a shift") { $0.set(UInt32(64), at: 96) },
    Point("cluster bits as a shift") { $0.set(UInt32(64), at: 20) },
    Point("header length") { $0.set(UInt32.max, at: 100) },
    Point("extension length + 7") { $0.set(UInt32(0x1234_5678), UInt32.max, at: 112) },
    Point("extension length + 7, just below 2^32") {
      $0.set(UInt32(0x1234_5678), UInt32.max - 6, at: 112)
    },
    Point("names of features · 48", isRefused: false) {
      $0.set(UInt32(0x6803_f857), UInt32(376), at: 112)
    },
    Point("offset + length of the LUKS header") {
      $0.set(UInt32(2), at: 32)
      $0.set(UInt32(0x0537_be77), UInt32(16), UInt64.max - 511, UInt64.max, at: 112)
    },
  ]

  static let entries: [Point] = [
    Point("L2 table offset at the end of 56 bits", isRefused: false) {
      $0.set(HostileImage.copied | 0x00ff_ffff_ffff_fe00, at: $0.l1)
    },
    Point("host offset at the end of 56 bits, and a cluster more", isRefused: false) {
      for cluster in [0, 4, 9] {
        $0.set(HostileImage.copied | 0x00ff_ffff_ffff_fe00, at: $0.entry(cluster))
      }
    },
    Point("compressed offset + size", isRefused: false) {
      for cluster in [0, 4, 9] { $0.set(UInt64(0x7fff_ffff_ffff_ffff), at: $0.entry(cluster)) }
    },
    Point("refcount block offset at the end of 64 bits", isRefused: false) {
      $0.set(UInt64.max - 511, at: $0.refcountTable)
    },
    Point("reserved zeros at the end of 56 bits", isRefused: false) {
      for cluster in [0, 10] {
        $0.set(HostileImage.copied | 0x00ff_ffff_ffff_fe01, at: $0.entry(cluster))
      }
    },
  ]

  @Test(arguments: header + entries)
  func aNumberWithoutRoomIsRefusedOrAnError(point: Point) async throws {
    let image = try await HostileImage.make()
    let ordeal = try await Ordeal.endure(image.with(point.change), "\(point.testDescription)")
    #expect((ordeal.readingError != nil) == point.isRefused, "\(ordeal.readingError as Any)")
    if let check = ordeal.check, !point.isRefused, point.testDescription.contains("offset") {
      #expect(check.corruptions > 0)
    }
  }

  // MARK: - Tables of extensions

  /// A snapshot table of one entry of these lengths.
  @Test(arguments: [
    (UInt16.max, UInt16.max, UInt32.max), (.max, .max, 1024), (0, 0, 1025), (0, 0, .max - 7),
  ])
  func theLengthsInASnapshotAreAddedUpWithoutOverflow(
    id: UInt16, name: UInt16, extra: UInt32
  ) async throws {
    let image = try await HostileImage.make()
    let bytes = image.with { image in
      let place = image.bytes.count.roundedUp(to: 512)
      image.set(UInt64.max - 511, UInt64(UInt32.max) << 32, at: place)
      image.set(id, name, at: place + 12)
      image.set(UInt32.max, extra, at: place + 32)
      image.set(UInt32(1), UInt32(0), UInt32(place), at: 60)
    }
    let ordeal = try await Ordeal.endure(bytes, "\(id), \(name), \(extra)")
    #expect(ordeal.writingError != nil)
  }

  /// A bitmap directory of one entry.
  private func directory(
    entries: UInt32 = 1, granularity: UInt8 = 16, name: UInt16 = 1, extra: UInt32 = 0,
    offset: UInt64 = 0x7000
  ) async throws -> [UInt8] {
    try await HostileImage.make().with { image in
      let place = image.bytes.count.roundedUp(to: 512)
      image.set(offset, UInt64(entries) << 32, at: place)
      image.set(UInt8(1), granularity, at: place + 16)
      image.set(name, at: place + 18)
      image.set(extra, UInt64(0x6200_0000_0000_0000), at: place + 20)
      image.set(UInt64(1), at: 88)
      image.set(UInt32(0x2385_2875), UInt32(24), UInt32(1), UInt32(0), UInt64(32), at: 112)
      image.set(UInt64(place), at: 136)
    }
  }

  @Test func theNumbersOfABitmapAreMultipliedAndShiftedWithoutOverflow() async throws {
    let cases: [(String, [UInt8])] = [
      ("table entries · 8", try await directory(entries: .max)),
      ("table entries · cluster size", try await directory(entries: 0x800_0000)),
      ("granularity 2^63", try await directory(granularity: 63)),
      ("granularity 2^64", try await directory(granularity: 64)),
      ("granularity 2^255", try await directory(granularity: 255)),
      ("name length, padded", try await directory(name: .max)),
      ("extra length, padded", try await directory(extra: .max)),
      ("table offset + size", try await directory(offset: .max - 511)),
    ]
    for (name, bytes) in cases {
      let ordeal = try await Ordeal.endure(bytes, "\(name)")
      #expect(ordeal.writingError != nil || ordeal.readingError != nil, "\(name)")
      #expect((ordeal.check?.corruptions ?? 1) > 0, "\(name)")
    }
  }

  // MARK: - Refcounts

  @Test(arguments: [1, 2, 4, 8, 16, 32, 64])
  func aRefcountAtItsLargestIsNotRaised(bits: Int) async throws {
    let image = try await HostileImage.make(refcountBits: bits)
    let bytes = image.with { image in
      for index in 0..<512 { image.bytes[image.refcountBlock + index] = 0xff }
    }
    let world = World.simulated(seed: 1)
    let error = try await world.run { () async throws -> BlockError? in
      let graph = DamagedImage.makeGraph(in: world)
      let file = try graph.addNode(try await MeteredDriver(bytes), name: "file")
      let node = try await graph.open(file: file, OpenOptions(format: "qcow2"))
      let error = await #expect(throws: BlockError.self) {
        try await graph.createSnapshot(named: "one more reference", of: node)
      }
      try? await graph.close(node)
      return error
    }
    #expect(error != nil)
    try await Ordeal.endure(bytes, "\(bits) bits")
  }

  // MARK: - Requests and sizes

  @Test func requestsAtTheEndOfAllNumbersAreOutOfRange() async throws {
    let bytes = try await HostileImage.make().bytes
    let world = World.simulated(seed: 1)
    try await world.run { () async throws in
      let graph = DamagedImage.makeGraph(in: world)
      let file = try graph.addNode(try await MeteredDriver(bytes), name: "file")
      let node = try await graph.open(file: file, OpenOptions(format: "qcow2"))
      let door = try BlockBackend(node, in: graph)
      let far = ByteRange(.max - 511, .max)
      await #expect(throws: BlockError.self) { _ = try await door.read(at: .max - 1, count: 512) }
      await #expect(throws: BlockError.self) { _ = try await door.read(at: -1, count: 512) }
      await #expect(throws: BlockError.self) { try await door.fill(1, at: .max, count: 1) }
      await #expect(throws: BlockError.self) { try await door.writeZeroes(far) }
      await #expect(throws: BlockError.self) { try await door.discard(far) }
      await #expect(throws: BlockError.self) { try await door.resize(to: .max - 511) }
      await #expect(throws: BlockError.self) { try await door.resize(to: .max) }
      await #expect(throws: BlockError.self) { try await door.resize(to: 1 << 62) }
      #expect(door.length == HostileImage.diskSize)
    }
  }

  @Test func theSizesOfANewImageAreCountedWithoutOverflow() {
    for size in [Int.max, .max - 511, 1 << 62, 1 << 61 + 512, -512, .min] {
      for clusterSize in [512, 65536, 2 << 20, .max, 0, -1] {
        var options = NewImageOptions(virtualSize: size)
        options.clusterSize = clusterSize
        for bits in [1, 16, 64, .max, 0] {
          options.refcountBits = bits
          #expect(throws: Qcow2FormatError.self, "\(size), \(clusterSize), \(bits)") {
            _ = try ImageLayout(options)
          }
        }
      }
    }
  }
}
