import BlockLayer
import Qcow2
import Testing

/// What a repair puts right: refcounts, copied flags, and the structures that hold them.
///
/// Texts and counts are those of qemu-img 7.2.22 for the same damage, where it repairs it.
@Suite struct RepairTests {
  /// One damage, and what becomes of it.
  struct Case: Sendable, CustomTestStringConvertible {
    let testDescription: String
    var mode = ImageRepair.all
    var refcountBits = 16
    var leaks = 0
    var corruptions = 0
    var messages: [String] = []
    let damage: @Sendable (DamagedImage) async throws -> Void
  }

  static let whole: [Case] = [
    Case(
      testDescription: "a leak", mode: .leaks, leaks: 1,
      messages: ["Repairing cluster 21 refcount=2 reference=0"]
    ) { image in
      _ = try await image.append([UInt64]())
      try await image.setRefcount(2, of: 21)
    },
    Case(testDescription: "leaks behind the file", mode: .leaks, leaks: 2) { image in
      try await image.setRefcount(1, of: 21)
      try await image.setRefcount(7, of: 1000)
    },
    Case(
      testDescription: "two guest clusters on one", leaks: 1, corruptions: 3,
      messages: [
        "Repairing cluster 6 refcount=1 reference=2",
        "Repairing OFLAG_COPIED data cluster: l2_entry=8000000000006000 refcount=2",
      ]
    ) { image in
      try await image.setEntry(0, DamagedImage.copied | UInt64(image.data(1)))
    },
    Case(
      testDescription: "refcount 0", corruptions: 1,
      messages: ["Repairing cluster 3 refcount=0 reference=1"]
    ) { image in
      try await image.setRefcount(0, ofOffset: image.l1)
    },
    Case(testDescription: "all refcounts 0", corruptions: 21) { image in
      try await image.write([UInt64](repeating: 0, count: 512), at: image.refcountBlock)
    },
    Case(
      testDescription: "a copied flag", mode: .leaks, corruptions: 1,
      messages: ["Repairing OFLAG_COPIED data cluster: l2_entry=5000 refcount=1"]
    ) { image in
      try await image.setEntry(0, UInt64(image.data(0)))
    },
    Case(
      testDescription: "the copied flag of a table", corruptions: 1,
      messages: ["Repairing OFLAG_COPIED L2 cluster: l1_index=0 l1_entry=4000 refcount=1"]
    ) { image in
      try await image.write([UInt64(image.l2)], at: image.l1)
    },
    Case(
      testDescription: "reserved zeros that are no cluster", leaks: 1, corruptions: 1,
      messages: [
        "Repairing offset=5200: Preallocated cluster is not properly aligned; L2 entry corrupted."
      ]
    ) { image in
      try await image.setEntry(0, DamagedImage.copied | 0x5201)
    },
    Case(testDescription: "reserved bits in the refcount table", leaks: 1, corruptions: 1) {
      image in
      try await image.write([UInt64(image.refcountBlock | 1)], at: image.refcountTable)
    },
    Case(testDescription: "a misaligned refcount block", corruptions: 1) { image in
      try await image.write([UInt64(image.refcountBlock | 512)], at: image.refcountTable)
    },
    Case(testDescription: "a refcount block outside", corruptions: 1) { image in
      try await image.write([0x100_0000], at: image.refcountTable + 8)
    },
    Case(testDescription: "a refcount block named twice", corruptions: 2) { image in
      try await image.write([UInt64(image.refcountBlock)], at: image.refcountTable + 8)
    },
    Case(
      testDescription: "no refcount table", corruptions: 19,
      messages: ["Rebuilding refcount structure"]
    ) { image in
      try await image.write(UInt32(0), at: 56)
    },
    Case(testDescription: "a missing refcount block", corruptions: 20) { image in
      try await image.write([0], at: image.refcountTable)
    },
    Case(testDescription: "a refcount table outside", corruptions: 20) { image in
      try await image.write([0x100_0000], at: 48)
    },
    Case(testDescription: "a refcount table on the L1 table", corruptions: 2) { image in
      try await image.write([UInt64(image.l1)], at: 48)
    },
    Case(testDescription: "refcounts near the largest", refcountBits: 64, leaks: 1) { image in
      try await image.setRefcount(.max, of: 20)
    },
  ]

  @Test(arguments: whole)
  func damageOfRefcountsAndFlagsIsRepaired(_ one: Case) async throws {
    let repaired = try await repair(one.mode, refcountBits: one.refcountBits, after: one.damage)
    let messages = repaired.messages
    #expect(repaired.isSound, "\(messages) \(repaired.result.remaining)")
    #expect(repaired.result.leaksFixed == one.leaks, "\(messages)")
    #expect(repaired.result.corruptionsFixed == one.corruptions, "\(messages)")
    for message in one.messages { #expect(messages.contains(message), "\(messages)") }
    #expect(repaired.keepsData && repaired.isReadable)
  }

  @Test(arguments: [1, 2, 4, 8, 32, 64])
  func refcountsOfAnyWidthAreRebuilt(refcountBits: Int) async throws {
    let repaired = try await repair(refcountBits: refcountBits) { image in
      try await image.write([UInt64(image.refcountBlock | 512)], at: image.refcountTable)
    }
    #expect(repaired.isSound, "\(repaired.messages)")
    #expect(repaired.keepsData)
  }

  @Test func leaksAloneLeaveCorruptionsAsTheyAre() async throws {
    let repaired = try await repair(.leaks) { image in
      try await image.setEntry(0, DamagedImage.copied | UInt64(image.data(1)))
      try await image.write([1], at: 72)
    }
    #expect(repaired.result.leaksFixed == 1)
    #expect(repaired.result.corruptionsFixed == 0)
    #expect(repaired.result.remaining.corruptions == 1)
    #expect(repaired.features == 1, "the image stays marked")
  }

  @Test func theMarksGoWhenNothingCorruptIsLeft() async throws {
    for mode in [ImageRepair.leaks, .all] {
      let repaired = try await repair(mode) { image in try await image.write([3], at: 72) }
      #expect(repaired.isSound)
      #expect(repaired.features == 0)
    }
    let hopeless = try await repair { image in
      try await image.write([3], at: 72)
      try await image.setEntry(0, DamagedImage.copied | 0x5200)
    }
    #expect(hopeless.result.remaining.corruptions > 0)
    #expect(hopeless.features == 3)
  }

  @Test func clustersThatWereSharedAreToldOfAndTheNextWriteSeparatesThem() async throws {
    _ = try await check { image in
      try await image.setEntry(0, DamagedImage.copied | UInt64(image.data(1)))
      let result = try await image.repair(.all)
      #expect(result.remaining.corruptions == 0)
      #expect(
        result.remaining.messages == [
          "offset=6000: Data cluster is mapped more than once (guest offset 0x1000)"
        ])
      let node = try await image.graph.open(file: image.file, OpenOptions(format: "qcow2"))
      let door = try BlockBackend(node, in: image.graph)
      try await door.fill(9, at: 0, count: 4096)
      #expect(try await door.read(at: 4096, count: 4096).allSatisfy { $0 == 1 })
      await door.close()
      try await image.graph.close(node)
      // Nobody knows the last owner without a walk: its clear flag costs a copy.
      let left = try await image.check()
      #expect(left.leaks == 0)
      #expect(left.messages == ["ERROR OFLAG_COPIED data cluster: l2_entry=6000 refcount=1"])
      #expect(try await image.repair(.all).remaining.messages == [])
    }
  }

  @Test func unknownAutoclearBitsGoBeforeARepairAndKnownOnesStay() async throws {
    _ = try await check { image in
      _ = try await image.addBitmap()
      try await image.write([1 | 1 << 63], at: 88)
      _ = try await image.repair(.leaks)
      #expect(try await image.word(at: 88) == 1)
    }
  }

  /// Pointers that lead nowhere: what is behind them is not known.
  static let incomplete: [(String, @Sendable (DamagedImage) async throws -> Void)] = [
    ("an L2 table", { try await $0.write([DamagedImage.copied | 0x4200], at: $0.l1) }),
    ("an L2 table outside", { try await $0.write([DamagedImage.copied | 0x40_0000], at: $0.l1) }),
    ("data outside", { try await $0.setEntry(3, DamagedImage.copied | 0x40_0000) }),
    (
      "a snapshot's L1 table",
      { image in
        let places = try await image.addSnapshot()
        try await image.write([UInt64(places.l1 + 512)], at: places.table)
      }
    ),
    (
      "a bitmap's bits",
      { image in
        let places = try await image.addBitmap()
        try await image.write([0x5200], at: places.table)
      }
    ),
  ]

  @Test(arguments: incomplete.indices, [ImageRepair.leaks, .all])
  func nothingIsFreedWhereAReferenceCannotBeFollowed(kind: Int, mode: ImageRepair) async throws {
    let repaired = try await repair(mode) { image in
      try await Self.incomplete[kind].1(image)
      // A leak that nobody may touch, and no refcounts at all behind it.
      _ = try await image.append([UInt64]())
    }
    #expect(repaired.result.leaksFixed == 0, "\(Self.incomplete[kind].0): \(repaired.messages)")
    #expect(repaired.result.remaining.leaks > 0)
    #expect(!repaired.result.remaining.isComplete)
    #expect(repaired.keepsData)
  }

  @Test func aCopiedFlagIsNotTrustedWhereAReferenceCannotBeFollowed() async throws {
    _ = try await check { image in
      let places = try await image.addSnapshot()
      try await image.write([UInt64(places.l1 + 512)], at: places.table)
      let shared = try await image.data(0)
      try await image.setEntry(0, DamagedImage.copied | UInt64(shared))
      _ = try await image.repair(.all)
      #expect(try await image.word(at: image.l2) == UInt64(shared))
    }
  }

  @Test func refcountsAreNotRebuiltWhereAReferenceCannotBeFollowed() async throws {
    let repaired = try await repair { image in
      try await image.write([UInt64(image.refcountBlock | 512)], at: image.refcountTable)
      try await image.setEntry(3, DamagedImage.copied | 0x40_0000)
    }
    #expect(repaired.messages.contains { $0.contains("not every reference could be followed") })
    #expect(repaired.result.remaining.corruptions > 0)
  }

  @Test func anImageInUseOrReadOnlyIsNotRepaired() async throws {
    _ = try await check { image in
      let node = try await image.graph.open(file: image.file, OpenOptions(format: "qcow2"))
      await #expect(throws: BlockError(.unsupported, "")) {
        _ = try await (node.driver as? any CheckableImage)?.repair(.all)
      }
      try await image.graph.close(node)
    }
  }
}
