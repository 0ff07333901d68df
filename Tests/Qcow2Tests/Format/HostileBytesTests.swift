import Primitives
import Qcow2
import Testing

/// Bytes of an enemy: every parser returns or throws, and what it returns is within its limits.
@Suite struct HostileBytesTests {
  private static let purposes: [OpenPurpose] = [.readWrite, .check]

  /// Parses and looks at everything that follows from the result, so that a trap anywhere shows.
  private func exercise(_ bytes: [UInt8], fileByteCount: Int, _ comment: Comment) {
    for purpose in Self.purposes {
      guard let cluster = try? HeaderCluster.parse(bytes.span.bytes, for: purpose) else { continue }
      let header = cluster.header
      #expect(header.geometry.l1EntryCount(forSize: header.virtualSize) <= 4_194_304, comment)
      #expect(header.l1TableRange != nil && header.refcountTableRange != nil, comment)
      #expect(header.virtualSize >= 0 && header.virtualSize % 512 == 0, comment)
      _ = cluster.regionDefects(fileByteCount: fileByteCount)
      _ = cluster.unsupportedFeatures(for: purpose)
      guard let written = try? cluster.serialize() else { continue }
      var copy = cluster
      copy.extensions.featureNames = []
      copy.extensions.bitmapsDefect = nil
      if let again = try? HeaderCluster.parse(written.span.bytes, for: .check) {
        var other = again
        other.extensions.featureNames = []
        // The tail is padded to 8 when it is written.
        other.header.unknownTail = copy.header.unknownTail
        #expect(other == copy, comment)
      } else {
        Issue.record("what was written is not readable: \(comment)")
      }
    }
  }

  private let seeds = [
    GoldenHeaders.plain, GoldenHeaders.overlay, GoldenHeaders.bitmaps, GoldenHeaders.luks,
    GoldenHeaders.dataFile, GoldenHeaders.version2,
  ].map { small($0) }

  /// The same header for clusters of 1 KiB: quick to parse, and its tables still in place.
  private static func small(_ bytes: [UInt8]) -> [UInt8] {
    Array(bytes.prefix(1024)).patched(20, "0000000a").patched(24, "00000000 00100000")
      .patched(36, "00000008")
  }

  @Test func anyPrefixOfAnImageIsParsedOrRefused() {
    for (index, bytes) in seeds.enumerated() {
      for length in 0..<700 {
        exercise(Array(bytes.prefix(length)), fileByteCount: length, "seed \(index), \(length)")
      }
    }
  }

  @Test func anyBitMayBeFlipped() {
    for (index, bytes) in seeds.enumerated() {
      // Every bit of the fixed header, and of the first extension.
      for bit in 0..<160 * 8 {
        var flipped = bytes
        flipped[bit / 8] ^= 1 << UInt8(bit % 8)
        exercise(flipped, fileByteCount: 1 << 20, "seed \(index), bit \(bit)")
      }
    }
  }

  @Test func anyFieldMayHoldAnExtremeNumber() {
    let extremes: [UInt64] = [
      0, 1, 0x1ff, 0x200, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 1 << 56, .max >> 1, 1 << 63, .max,
      .max - 7, .max - 0xfff,
    ]
    for (index, bytes) in seeds.enumerated() {
      for offset in stride(from: 4, to: 160, by: 4) {
        for number in extremes {
          var wide = bytes
          var narrow = bytes
          for place in 0..<8 {
            wide[offset + place] = UInt8(truncatingIfNeeded: number >> UInt64(56 - 8 * place))
          }
          for place in 0..<4 {
            narrow[offset + place] = UInt8(truncatingIfNeeded: number >> UInt64(24 - 8 * place))
          }
          exercise(wide, fileByteCount: .max, "seed \(index), \(number) at \(offset)")
          exercise(narrow, fileByteCount: 0, "seed \(index), \(number) at \(offset), 4 bytes")
        }
      }
    }
  }

  @Test func mutatedImagesAreParsedOrRefused() {
    for seed in 0..<3000 as Range<UInt64> {
      var numbers = SeededNumbers(seed: seed)
      var bytes = seeds[Int(seed) % seeds.count]
      for _ in 0..<Int.random(in: 1...6, using: &numbers) {
        let offset = Int.random(in: 4..<640, using: &numbers)
        let interesting: [UInt8] = [0, 1, 7, 8, 16, 0x7f, 0x80, 0xff]
        bytes[offset] =
          Bool.random(using: &numbers)
          ? UInt8.random(in: 0...255, using: &numbers)
          : interesting[Int.random(in: 0..<8, using: &numbers)]
      }
      exercise(bytes, fileByteCount: 1 << 20, "seed \(seed)")
    }
  }

  @Test func mutatedRewritesStayWithinTheCluster() throws {
    for seed in 0..<1500 as Range<UInt64> {
      var numbers = SeededNumbers(seed: seed)
      var old = seeds[Int(seed) % seeds.count]
      for _ in 0..<4 {
        old[Int.random(in: 0..<640, using: &numbers)] = UInt8.random(in: 0...255, using: &numbers)
      }
      let other = seeds[Int(seed + 1) % seeds.count]
      var cluster = try HeaderCluster.parse(other.span.bytes, for: .check)
      cluster.backingFileName = EmbeddedName(String(repeating: "n", count: Int(seed % 300) + 1))
      let plan = try cluster.rewrite(replacing: old.span.bytes)
      for step in plan.steps {
        #expect(step.offset.value + step.bytes.count <= 1024, "seed \(seed)")
      }
    }
  }

  @Test func mutatedBitmapDirectoriesAreParsedOrRefused() {
    let golden = hex(
      """
      00000000 000b0000 00000001 00000002 01100002 00000000 62300000 00000000 \
      00000000 000c0000 00000001 00000000 01100002 00000000 62310000 00000000
      """)
    let geometry = Geometry(clusterBits: 16)
    for seed in 0..<4000 as Range<UInt64> {
      var numbers = SeededNumbers(seed: seed)
      var bytes = Array(golden.prefix(Int.random(in: 0...64, using: &numbers)))
      for _ in 0..<Int.random(in: 0...4, using: &numbers) where !bytes.isEmpty {
        bytes[Int.random(in: 0..<bytes.count, using: &numbers)] = UInt8.random(
          in: 0...255, using: &numbers)
      }
      let entries = try? BitmapDirectory.parse(
        bytes.span.bytes, bitmapCount: 2, geometry: geometry, virtualSize: 1 << 20)
      for entry in entries ?? [] {
        #expect(entry.tableRange != nil, "seed \(seed)")
        #expect((9...31).contains(entry.granularityBits), "seed \(seed)")
      }
    }
  }

  @Test func mutatedSnapshotEntriesAreParsedOrRefused() {
    let golden = hex(
      """
      00000000 00060000 00000001 00010005 6b038a2c 2f918938 00000000 00000000 \
      00000000 00000018 00000000 00000000 00000000 00100000 00000000 00000000 '1first' 0000
      """)
    for seed in 0..<4000 as Range<UInt64> {
      var numbers = SeededNumbers(seed: seed)
      var bytes = golden + golden
      for _ in 0..<Int.random(in: 1...4, using: &numbers) {
        bytes[Int.random(in: 0..<bytes.count, using: &numbers)] = UInt8.random(
          in: 0...255, using: &numbers)
      }
      var position = 0
      let span = bytes.span.bytes
      while let found = try? SnapshotTableEntry.parse(at: position, in: span, index: 0) {
        #expect(found.next >= position + 40, "seed \(seed)")
        _ = found.entry.l1TableDefect(geometry: Geometry(clusterBits: 9))
        position = found.next
      }
    }
  }

  @Test func anyWordIsAnEntry() {
    var numbers = SeededNumbers(seed: 7)
    for round in 0..<20000 {
      let raw = round < 64 ? 1 << UInt64(round) : numbers.next() & numbers.next()
      let geometry = Geometry(clusterBits: 9 + round % 13)
      let entry = L2Entry(rawValue: raw)
      _ = entry.defects(geometry: geometry, version: .v2)
      if case .compressed(let descriptor) = entry.kind(clusterBits: geometry.clusterBits) {
        let count = descriptor.touchedClusters.count
        // Up to three clusters; of 512 bytes, which have sectors as large, two.
        #expect((1...3).contains(count), "\(raw)")
        #expect(L2Entry.compressed(descriptor).rawValue == raw & ~(1 << 63), "\(raw)")
      }
      _ = L1Entry(rawValue: raw).l2Table
      _ = RefcountTableEntry(rawValue: raw).checkedBlock(geometry: geometry)
      _ = BitmapTableEntry(rawValue: raw).kind(geometry: geometry)
    }
  }
}
