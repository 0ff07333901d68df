import BlockLayer
import Execution
import Qcow2
import Testing

/// What an image says of itself.
@Suite struct ImageInformationTests {
  private func information(
    version: FormatVersion = .v3,
    after change: @escaping @Sendable (DamagedImage) async throws -> Void
  ) async throws -> ImageInformation {
    let world = World.simulated(seed: 3)
    return try await world.run { () async throws -> ImageInformation in
      let image = try await DamagedImage.make(in: world, version: version)
      try await change(image)
      return try await Qcow2Driver.information(of: image.file)
    }
  }

  @Test func theHeadersFieldsAreTold() async throws {
    let usual = try await information { _ in }
    #expect(usual.virtualSize == 1 << 20)
    #expect(usual.clusterSize == 4096)
    #expect(usual.compatibility == "1.1")
    #expect(usual.refcountBits == 16)
    #expect(usual.compressionType == .deflate)
    #expect(usual.encryptionMethod == .none)
    #expect(!usual.isDirty && !usual.isCorrupt && !usual.hasLazyRefcounts && !usual.hasExtendedL2)
    #expect(usual.bitmaps.isEmpty && usual.snapshots.isEmpty && usual.defects.isEmpty)
    #expect(usual.recordedBacking == nil && usual.dataFile == nil)
    let marked = try await information { image in
      try await image.write([3], at: 72)
      try await image.write([1], at: 80)
      _ = try await image.addExtension(0x1234_5678, [1, 2, 3])
    }
    #expect(marked.isDirty && marked.isCorrupt && marked.hasLazyRefcounts)
    #expect(marked.unknownExtensionCount == 1)
    #expect(try await information(version: .v2) { _ in }.compatibility == "0.10")
  }

  @Test func aBackingFileIsNamedAndNotOpened() async throws {
    let told = try await information { image in
      _ = try await image.addExtension(0xe279_2aca, Array("raw".utf8))
      try await image.write(bytes: Array("none.img".utf8), at: 400)
      try await image.write([400], at: 8)
      try await image.write(UInt32(8), at: 16)
    }
    #expect(told.recordedBacking == RecordedBacking(name: "none.img", format: "raw"))
  }

  @Test func aSoundImageThatNamesNothingHasNoViolations() async throws {
    let told = try await information { image in
      _ = try await image.addSnapshot()
      _ = try await image.addBitmap()
    }
    #expect(told.violations.isEmpty)
    #expect(told.features == [SetFeature(kind: .autoclear, bit: 0, name: "bitmaps")])
  }

  @Test func whatReachesBeyondTheImageIsAViolation() async throws {
    let told = try await information { image in
      try await image.write(bytes: Array("../json:\u{1b}x".utf8), at: 400)
      try await image.write([400], at: 8)
      try await image.write(UInt32(10), at: 16)
      try await image.write([3], at: 72)
      try await image.write([1 << 40], at: 80)  // a compatible bit that nobody knows
      try await image.write([0x7000_0000_0000], at: 48)
    }
    let name: EmbeddedName = "../json:\u{1b}x"
    #expect(
      told.violations == [
        .namesBackingFile(name), .statesNoBackingFormat, .leadsOutOfFolder(name),
        .hasControlCharacters(name),
        .unknownFeature(SetFeature(kind: .compatible, bit: 40, name: nil)), .isMarkedCorrupt,
        .isDirty, .defect(told.tableDefects[0]),
      ])
    #expect(told.tableDefects.count == 1)
    #expect(!told.violations.map(\.description).joined().contains("\u{1b}"))
  }

  @Test func bitmapsAndSnapshotsAreListed() async throws {
    let told = try await information { image in
      _ = try await image.addSnapshot()
      _ = try await image.addBitmap()
    }
    #expect(told.bitmaps.map(\.name) == ["b"])
    #expect(told.bitmaps.map(\.granularity) == [65536])
    #expect(told.bitmaps.map(\.flags) == [.auto])
    #expect(told.snapshots.map(\.id) == ["1"])
    #expect(told.snapshots.map(\.name) == ["a"])
    #expect(told.snapshots.first?.diskByteCount == 1 << 20)
    #expect(told.defects.isEmpty)
  }

  @Test func damagedListsAreToldAndTheRestIsStillThere() async throws {
    let told = try await information { image in
      let snapshot = try await image.addSnapshot()
      try await image.write(UInt32(5000), at: snapshot.table + 36)
      let bitmap = try await image.addBitmap()
      try await image.write(bytes: [UInt8(8)], at: bitmap.directory + 15)
    }
    #expect(told.virtualSize == 1 << 20)
    #expect(told.bitmaps.isEmpty && told.snapshots.isEmpty)
    #expect(
      told.defects == [
        "Bitmap 'b' doesn't satisfy the constraints",
        "Too much extra metadata in snapshot table entry 0",
      ])
  }

  @Test func imagesThatTheEngineCannotOpenTellOfThemselves() async throws {
    let encrypted = try await information { try await $0.addEncryptionHeader(byteCount: 9000) }
    #expect(encrypted.encryptionMethod == .luks)
    let external = try await information { image in
      try await image.useDataFile()
      _ = try await image.addExtension(0x4441_5441, Array("d.raw".utf8))
    }
    #expect(external.dataFile?.name == "d.raw")
    #expect(external.dataFile?.isRaw == false)
  }

  @Test func whatIsNoImageIsRefused() async throws {
    await #expect(throws: BlockError.self) {
      try await information { image in try await image.write(bytes: [UInt8(0)], at: 0) }
    }
  }
}
