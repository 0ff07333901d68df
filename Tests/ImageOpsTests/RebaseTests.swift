import BlockLayer
import BlockTestKit
import Execution
import ImageOps
import Lamina
import Primitives
import Qcow2
import Testing

/// Safe rebases of random overlays onto random chains.
@Suite struct RebaseTests {
  static let record = RecordedBacking(name: "another", format: "raw")

  @Test(arguments: 0..<30)
  func theOverlayShowsTheSameOnAnotherBackingFile(seed: Int) async throws {
    let lab = ChainLab(seed: UInt64(seed))
    try await lab.world.run {
      var random = lab.world.makeRandom("rebase")
      let old = try await lab.randomChain(&random)
      let top = try await lab.image(
        length: lab.randomLength(&random), clusterSize: lab.randomClusterSize(&random),
        version: seed % 4 == 0 ? .v2 : .v3, backing: old)
      try await lab.scribble(top, count: 3, &random)
      let new = try await newBacking(lab, old, seed, &random)
      let expected = try await lab.contents(top)
      try await Rebase.safely(
        top, onto: new == nil ? nil : Self.record, showing: new)
      #expect(try await lab.contents(top).firstDifference(from: expected) == nil, "seed \(seed)")
      let file = try await lab.file(closing: top)
      let again = try await lab.open(file, backing: new)
      #expect(try await lab.contents(again).firstDifference(from: expected) == nil, "seed \(seed)")
      let recorded = (again.driver as? any BackingFileImage)?.recordedBacking
      #expect(recorded == (new == nil ? nil : Self.record))
      #expect(try await lab.findings(again) == [], "seed \(seed)")
    }
  }

  private func newBacking(
    _ lab: ChainLab, _ old: BlockNode, _ seed: Int, _ random: inout SeededGenerator
  ) async throws -> BlockNode? {
    switch seed % 5 {
    case 0: return nil
    case 1: return old.backing ?? old
    case 2:
      // One that is nearly the same.
      let near = try lab.disk(length: lab.randomLength(&random))
      let shared = ByteRange(0, min(near.length, old.length))
      let bytes = try await lab.contents(old, length: shared.count)
      try await near.write(shared, from: bytes.span.bytes)
      try await lab.scribble(near, count: 2, &random)
      return near
    default: return try await lab.randomChain(&random)
    }
  }

  @Test(arguments: [FormatVersion.v2, .v3])
  func anImageWithoutABackingFileKeepsItsZeros(_ version: FormatVersion) async throws {
    let lab = ChainLab(seed: 3)
    try await lab.world.run {
      let new = try lab.disk(length: 6 << 20)
      try await lab.write(new, ByteRange(0, 5 << 20))
      let top = try await lab.image(length: 6 << 20, version: version)
      try await lab.write(top, ByteRange(100_000, 300_000))
      let expected = try await lab.contents(top)
      try await Rebase.safely(top, onto: Self.record, showing: new)
      let file = try await lab.file(closing: top)
      let again = try await lab.open(file, backing: new)
      #expect(try await lab.contents(again).firstDifference(from: expected) == nil)
      #expect(try await lab.findings(again) == [])
      let data = try await lab.allocatedBytes(again)
      #expect(version == .v3 ? data < 1 << 20 : (5 << 20..<6 << 20).contains(data), "\(data)")
    }
  }

  @Test func whatBothBackingFilesShowIsNotCopied() async throws {
    let lab = ChainLab(seed: 1)
    try await lab.world.run {
      let old = try lab.disk(length: 1 << 20)
      let new = try lab.disk(length: 1 << 20)
      try await lab.write(old, ByteRange(0, 1 << 20))
      let bytes = try await lab.contents(old)
      try await new.write(ByteRange(0, 1 << 20), from: bytes.span.bytes)
      try await lab.write(new, ByteRange(70_000, 70_008))
      let top = try await lab.image(length: 1 << 20, backing: old)
      try await Rebase.safely(top, onto: Self.record, showing: new)
      #expect(try await lab.allocatedBytes(top) == 65536)
    }
  }

  @Test func whatTheNewBackingFileHasBehindTheOldOnesEndIsHidden() async throws {
    let lab = ChainLab(seed: 1)
    try await lab.world.run {
      let old = try lab.disk(length: 65536)
      let new = try lab.disk(length: 1 << 20)
      try await lab.write(old, ByteRange(0, 65536))
      try await lab.write(new, ByteRange(0, 1 << 20))
      let top = try await lab.image(length: 1 << 20, backing: old)
      let expected = try await lab.contents(top)
      try await Rebase.safely(top, onto: Self.record, showing: new)
      let file = try await lab.file(closing: top)
      let again = try await lab.open(file, backing: new)
      #expect(try await lab.contents(again).firstDifference(from: expected) == nil)
    }
  }

  @Test func aBackingFileWithoutAFormatIsRefusedBeforeAnythingIsCopied() async throws {
    let lab = ChainLab(seed: 1)
    try await lab.world.run {
      let old = try lab.disk(length: 1 << 20)
      try await lab.write(old, ByteRange(0, 1 << 20))
      let top = try await lab.image(length: 1 << 20, backing: old)
      await #expect(throws: BlockError(.invalidArgument, "")) {
        try await Rebase.safely(
          top, onto: RecordedBacking(name: "x", format: nil), showing: try lab.disk(length: 512))
      }
      #expect(try await lab.allocatedBytes(top) == 0)
    }
  }

  @Test func aFlattenedImageStandsAloneAndHasNoZeros() async throws {
    let lab = ChainLab(seed: 1)
    try await lab.world.run {
      let base = try lab.disk(length: 4 << 20)
      try await lab.write(base, ByteRange(1 << 20, (1 << 20) + 100))
      let top = try await lab.image(length: 8 << 20, backing: base)
      let expected = try await lab.contents(top)
      try await Rebase.flatten(top)
      let file = try await lab.file(closing: top)
      let again = try await lab.open(file, backing: nil)
      #expect(try await lab.contents(again) == expected)
      #expect(try await lab.allocatedBytes(again) == 65536)
      #expect((again.driver as? any BackingFileImage)?.recordedBacking == nil)
    }
  }
}
