import BlockLayer
import Execution
import Primitives
import Qcow2
import Testing

/// Writes that damaged metadata would send over other metadata: refused, and the image is marked as
/// corrupt.
@Suite struct OverlapTests {
  typealias Damage = @Sendable (DamagedImage) async throws -> Void

  /// One damage, and the write that runs into it.
  struct Case: Sendable, CustomTestStringConvertible {
    let testDescription: String
    /// What the error says.
    let message: String
    /// Where the guest writes, and how much.
    var write = ByteRange(0, 512)
    let damage: Damage
  }

  /// Guest cluster 0 is mapped to a cluster of each class.
  static let data: [Case] = [
    ("active L1 table", 0x3000), ("active L2 table", 0x4000), ("refcount table", 0x1000),
    ("refcount block", 0x2000),
  ].map { name, offset in
    Case(testDescription: name, message: "invalid write on metadata (overlaps with \(name))") {
      try await $0.setEntry(0, DamagedImage.copied | UInt64(offset))
    }
  }

  static let bitmaps: [Case] = ["bitmap directory", "bitmap table", "bitmap data"].map { name in
    Case(testDescription: name, message: "invalid write on metadata (overlaps with \(name))") {
      image in
      let places = try await image.addBitmap()
      let offset =
        name == "bitmap directory"
        ? places.directory : name == "bitmap table" ? places.table : places.bits
      try await image.setEntry(0, DamagedImage.copied | UInt64(offset))
    }
  }

  /// Guest cluster 0 has a reserved cluster of zeros that is metadata.
  static let reserved = Case(
    testDescription: "reserved zeros on metadata",
    message: "invalid write on metadata (overlaps with refcount block)"
  ) {
    try await $0.setEntry(0, DamagedImage.copied | 0x2001)
  }

  /// Metadata of each class has refcount 0, so that the next allocation finds it.
  static let allocations: [Case] = [
    ("active L1 table", 3), ("active L2 table", 4), ("refcount table", 1), ("refcount block", 2),
  ].map { name, cluster in
    Case(
      testDescription: "free \(name)",
      message: "invalid allocation on metadata (overlaps with \(name))",
      write: ByteRange(offset: 100 * 4096, count: 512)
    ) {
      try await $0.setRefcount(0, of: cluster)
    }
  }

  static let pointers: [Case] = [
    Case(testDescription: "an L2 table that is a refcount block", message: "refcount block") {
      try await $0.write([DamagedImage.copied | 0x2000], at: $0.l1)
      try await $0.write([UInt64](repeating: 0, count: 512), at: 0x4000)
    },
    Case(testDescription: "a shared L2 table that is the L1 table", message: "active L1 table") {
      try await $0.write([0x3000], at: $0.l1)
    },
    Case(
      testDescription: "a refcount block that is the L2 table", message: "refcount block",
      write: ByteRange(offset: 100 * 4096, count: 512)
    ) {
      try await $0.write([0x4000], at: $0.refcountTable)
    },
    Case(testDescription: "an L2 table that is no cluster", message: "unaligned") {
      try await $0.write([DamagedImage.copied | 0x4200], at: $0.l1)
    },
    Case(testDescription: "data that is no cluster", message: "unaligned") {
      try await $0.setEntry(0, DamagedImage.copied | 0x5200)
    },
    Case(testDescription: "data behind the file", message: "beyond the end of the file") {
      try await $0.setEntry(0, DamagedImage.copied | 0x40_0000)
    },
    Case(
      testDescription: "a refcount block that is no cluster", message: "Refblock offset",
      write: ByteRange(offset: 100 * 4096, count: 512)
    ) {
      try await $0.write([0x2200], at: $0.refcountTable)
    },
  ]

  @Test(arguments: data + bitmaps + [reserved] + allocations + pointers)
  func aWriteOverMetadataIsRefusedAndTheImageIsMarked(_ one: Case) async throws {
    let world = World.simulated(seed: 3)
    try await world.run { () async throws in
      let image = try await DamagedImage.make(in: world)
      try await one.damage(image)
      let before = try await image.file.bytes(image.file.length)
      let node = try await image.graph.open(file: image.file, OpenOptions(format: "qcow2"))
      let door = try BlockBackend(node, in: image.graph)
      let error = await #expect(throws: BlockError.self) {
        try await door.fill(9, at: one.write.lower, count: one.write.count)
        try await door.flush()
      }
      #expect(error?.code == .corrupt)
      #expect(error?.message.contains(one.message) == true, "\(error as Any)")
      #expect(try await image.word(at: 72) == 2, "the corrupt bit")
      await #expect(throws: BlockError(.corrupt, "")) {
        try await door.fill(9, at: 5 * 4096, count: 512)
      }
      _ = try? await door.read(at: 8 * 4096, count: 512)
      await door.close()
      // Bitmaps cannot be stored, which closing tells.
      try? await image.graph.close(node)
      try await expectUnchanged(image, before)
      await #expect(throws: BlockError.self, "nobody writes to it any more") {
        _ = try await image.graph.open(file: image.file, OpenOptions(format: "qcow2"))
      }
    }
  }

  /// Nothing but marks has changed: the corrupt bit, bitmaps in use.
  private func expectUnchanged(_ image: DamagedImage, _ before: [UInt8]) async throws {
    let after = try await image.file.bytes(before.count)
    let changed = before.indices.filter { before[$0] != after[$0] }
    let marks = changed.filter { $0 == 79 || before[$0] | 1 == after[$0] }
    #expect(changed == marks && changed.count <= 2, "\(changed)")
  }

  @Test func discardsAndZeroesAreCheckedToo() async throws {
    for isDiscard in [true, false] {
      let world = World.simulated(seed: 3)
      try await world.run { () async throws in
        let image = try await DamagedImage.make(in: world)
        try await image.write([DamagedImage.copied | 0x2000], at: image.l1)
        let node = try await image.graph.open(
          file: image.file, OpenOptions(format: "qcow2", discard: .unmap))
        let door = try BlockBackend(node, in: image.graph)
        await #expect(throws: BlockError(.corrupt, "")) {
          if isDiscard {
            try await door.discard(ByteRange(0, 4096))
          } else {
            try await door.writeZeroes(ByteRange(0, 4096))
          }
        }
        #expect(try await image.word(at: 72) == 2)
        await door.close()
        try await image.graph.close(node)
      }
    }
  }

  @Test func anImageOfVersion2HasNoMarkButIsNotWrittenEither() async throws {
    let world = World.simulated(seed: 3)
    try await world.run { () async throws in
      let image = try await DamagedImage.make(in: world, version: .v2)
      try await image.setEntry(0, DamagedImage.copied | 0x2000)
      let before = try await image.file.bytes(image.file.length)
      let node = try await image.graph.open(file: image.file, OpenOptions(format: "qcow2"))
      let door = try BlockBackend(node, in: image.graph)
      for offset in [0, 4096] {
        await #expect(throws: BlockError(.corrupt, "")) {
          try await door.fill(9, at: offset, count: 512)
        }
      }
      await door.close()
      try await image.graph.close(node)
      let isSame = try await image.file.bytes(before.count) == before
      #expect(isSame)
    }
  }

  @Test func readingDamagedMappingsMarksNothing() async throws {
    let world = World.simulated(seed: 3)
    try await world.run { () async throws in
      let image = try await DamagedImage.make(in: world)
      try await image.setEntry(0, DamagedImage.copied | 0x5200)
      let node = try await image.graph.open(file: image.file, OpenOptions(format: "qcow2"))
      let door = try BlockBackend(node, in: image.graph)
      await #expect(throws: BlockError(.corrupt, "")) { _ = try await door.read(at: 0, count: 512) }
      try await door.fill(9, at: 4096, count: 512)
      await door.close()
      try await image.graph.close(node)
      #expect(try await image.word(at: 72) == 0)
    }
  }

  @Test func clustersThatMetadataLeavesMayHoldDataAgain() async throws {
    let world = World.simulated(seed: 4)
    try await world.run { () async throws in
      let image = try await DamagedImage.make(in: world)
      let node = try await image.graph.open(
        file: image.file, OpenOptions(format: "qcow2", discard: .unmap))
      let door = try BlockBackend(node, in: image.graph)
      // The L1 table moves: its old cluster is free, and is used for data.
      try await (node.driver as? any ResizableImage)?.resize(to: 2 << 30)
      for round in 1...40 {
        try await door.fill(UInt8(round), at: round * 8192, count: 8192)
        try await door.flush()
        try await door.discard(ByteRange(offset: round * 8192, count: 8192))
      }
      await door.close()
      try await image.graph.close(node)
      #expect(try await image.check().isClean)
    }
  }
}
