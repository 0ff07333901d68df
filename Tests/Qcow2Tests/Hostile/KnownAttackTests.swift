import BlockLayer
import Execution
import Primitives
import Qcow2
import Synchronization
import Testing

/// What images that became CVEs of other readers do to this one; those of programs that use images
/// are in `KnownAttackTests` of LaminaToolTests.
@Suite struct KnownAttackTests {
  @Test("CVE-2014-0143: sizes of tables that overflow are refused before memory is taken")
  func sizesThatOverflow() async throws {
    let image = try await HostileImage.make()
    for count: UInt32 in [0x2000_0000, 0x2000_0001, 0x7fff_ffff, 0x8000_0000, .max] {
      for field in [36, 56, 60] {
        let bytes = image.with { $0.set(count, at: field) }
        let ordeal = try await Ordeal.endure(bytes, "\(count) at \(field)")
        #expect(ordeal.writingError != nil || ordeal.readingError != nil)
      }
    }
  }

  @Test("CVE-2014-0144: every field of the header is validated")
  func fieldsWithoutValidation() async throws {
    let image = try await HostileImage.make()
    let fields: [(Int, UInt32)] = [
      (100, 0x7fff_ffff), (100, 513), (56, 0x10_0000), (36, 0x100_0000), (16, 0x7fff_ffff),
      (60, 0x10_0000),
    ]
    for (offset, value) in fields {
      let bytes = image.with { image in
        if offset == 16 { image.set(UInt64(200), at: 8) }
        image.set(value, at: offset)
      }
      let ordeal = try await Ordeal.endure(bytes, "\(value) at \(offset)")
      #expect(ordeal.readingError != nil, "\(value) at \(offset)")
    }
  }

  /// An image with a snapshot of `entries` L1 entries at `place`.
  private func snapshot(entries: UInt32, at place: UInt64) async throws -> [UInt8] {
    try await HostileImage.make().with { image in
      let table = image.bytes.count.roundedUp(to: 512)
      image.set(place, entries, UInt16(1), UInt16(1), at: table)
      image.set(UInt32(16), UInt64(0), UInt64(HostileImage.diskSize), at: table + 36)
      image.set(UInt32(0x3161_0000), at: table + 56)
      image.set(UInt32(1), UInt32(0), UInt32(table), at: 60)
    }
  }

  @Test("CVE-2014-0145, CVE-2014-0147: a snapshot's tables are measured, not trusted")
  func snapshotsWithOtherTablesThanTheImage() async throws {
    let cases: [(UInt32, UInt64)] = [
      (2, 0x600), (64, 0x600), (0x40_0000, 0x600), (0x40_0001, 0x600), (.max, 0x600), (1, 0x601),
      (1, .max - 511), (1, 1 << 63), (0, 0), (1, 0),
    ]
    for (entries, place) in cases {
      let bytes = try await snapshot(entries: entries, at: place)
      try await Ordeal.endure(bytes, "\(entries) entries at \(place)")
      let world = World.simulated(seed: 1)
      try await world.run { () async throws in
        let file = try await MeteredDriver(bytes)
        let graph = DamagedImage.makeGraph(in: world)
        let below = try graph.addNode(file, name: "file")
        guard let node = try? await graph.open(file: below, OpenOptions(format: "qcow2")) else {
          return
        }
        // Each is done or refused; afterwards the image can be closed.
        _ = try? await graph.createSnapshot(named: "mine", of: node)
        try? await graph.applySnapshot(.id("1"), to: node)
        try? await graph.deleteSnapshot(.id("1"), of: node)
        try? await graph.close(node)
        #expect(file.largestRead.load(ordering: .relaxed) <= Ordeal.memoryLimit)
      }
    }
  }

  @Test("CVE-2014-0146: an opening that fails anywhere leaves nothing half made")
  func openingsThatFailAnywhere() async throws {
    let bytes = try await snapshot(entries: 1, at: 0x600)
    for field in [8, 16, 20, 24, 32, 36, 40, 48, 56, 60, 64, 72, 96, 100] {
      var damaged = bytes
      damaged[field + 3] = 0xff
      let world = World.simulated(seed: 1)
      try await world.run { [damaged] () async throws in
        let graph = DamagedImage.makeGraph(in: world)
        let file = try graph.addNode(try await MeteredDriver(damaged), name: "file")
        do throws(BlockError) {
          try await graph.close(try await graph.open(file: file, OpenOptions(format: "qcow2")))
        } catch {
          #expect(graph.nodes.map(\.name) == ["file"], "byte \(field + 3)")
          #expect(file.parentEdges.isEmpty)
        }
      }
    }
  }

  @Test("CVE-2014-0142, CVE-2014-0148: sizes of zero divide nothing and end every loop")
  func sizesOfZero() async throws {
    let image = try await HostileImage.make()
    for (field, width) in [(20, 4), (24, 8), (36, 4), (40, 8), (48, 8), (56, 4), (96, 4), (100, 4)]
    {
      let bytes = image.with { image in
        for index in 0..<width { image.bytes[field + index] = 0 }
      }
      try await Ordeal.endure(bytes, "zero at \(field)")
    }
  }

  @Test("CVE-2013-2096, CVE-2013-4463, CVE-2013-4469: a size is told before it costs anything")
  func diskOfPebibytesInAFileOfKibibytes() async throws {
    let world = World.simulated(seed: 1)
    try await world.run { () async throws in
      let file = try await MeteredDriver([])
      let graph = DamagedImage.makeGraph(in: world)
      let below = try graph.addNode(file, name: "file")
      var options = NewImageOptions(virtualSize: 1 << 40)
      options.clusterSize = 2 << 20
      try await Qcow2Driver.create(options, in: below)
      let told = try await Qcow2Driver.information(of: below)
      #expect(told.virtualSize == 1 << 40)
      let node = try await graph.open(file: below, OpenOptions(format: "qcow2", readOnly: true))
      let status = try await node.chainStatus(ByteRange(0, 1 << 40))
      #expect(status.status.isZero)
      #expect(file.bytesRead.load(ordering: .relaxed) < 32 << 20)
      try await graph.close(node)
    }
  }

  @Test("no CVE: LUKS without its header is an error and no crash")
  func encryptionWithoutItsHeader() async throws {
    let image = try await HostileImage.make()
    let ordeal = try await Ordeal.endure(image.with { $0.set(UInt32(2), at: 32) }, "LUKS")
    #expect(ordeal.readingError?.message == "Missing CRYPTO header for crypt method 2")
  }

  @Test func anL1EntryOfWhichOneByteIsThereIsChecked() async throws {
    // Found by the fuzzer: a writer made the flag permanent that a check had not seen.
    let image = try await HostileImage.make()
    let bytes = Array(image.bytes.prefix(image.l1)) + [0x80]
    let ordeal = try await Ordeal.endure(bytes, "cut off in the first L1 entry")
    #expect((ordeal.check?.corruptions ?? 0) > 0)
  }

  // MARK: - Looking

  @Test func openingReadOnlyNeverWrites() async throws {
    let golden: [[UInt8]] = [
      GoldenHeaders.plain, GoldenHeaders.version2, GoldenHeaders.smallClusters,
      GoldenHeaders.overlay, GoldenHeaders.overlayVersion2, GoldenHeaders.empty,
      GoldenHeaders.lazyRefcounts, GoldenHeaders.zstd, GoldenHeaders.extendedL2,
      GoldenHeaders.bitmaps, GoldenHeaders.snapshot, GoldenHeaders.dataFile, GoldenHeaders.luks,
      // Dirty; corrupt; with an autoclear bit that nobody knows.
      GoldenHeaders.plain.patched(79, "01"), GoldenHeaders.plain.patched(79, "02"),
      GoldenHeaders.plain.patched(88, "80000000 00000000"),
      GoldenHeaders.bitmaps.patched(88, "00000000 00000000"),
    ]
    for (index, header) in golden.enumerated() {
      let world = World.simulated(seed: 1)
      try await world.run { () async throws in
        let file = try await MeteredDriver(header)
        try await file.below.resize(to: 4 << 20)
        let graph = DamagedImage.makeGraph(in: world)
        let below = try graph.addNode(file, name: "file")
        _ = try? await Qcow2Driver.information(of: below)
        for isForCheck in [true, false] {
          var options = OpenOptions(format: "qcow2", readOnly: true, backing: .ignore)
          options.isForCheck = isForCheck
          let data = try graph.addNode(MemoryDriver(length: 1 << 20))
          if header[79] & 4 != 0, !isForCheck { options.dataFile = .node(data) }
          guard let node = try? await graph.open(file: below, options) else { continue }
          if let image = node.driver as? Qcow2Driver, isForCheck { _ = try? await image.check() }
          var buffer = IOBuffer(byteCount: 512)
          var bytes = buffer.mutableBytes
          try? await node.read(ByteRange(0, 512), into: &bytes)
          try? await node.flush()
          try? await graph.close(node)
        }
        #expect(file.changes.load(ordering: .relaxed) == 0, "image \(index)")
      }
    }
  }
}
