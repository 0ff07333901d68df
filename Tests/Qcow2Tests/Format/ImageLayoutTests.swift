import Primitives
import Qcow2
import Testing

/// The first bytes of new images.
@Suite struct ImageLayoutTests {
  /// The file that the pieces make.
  private func file(_ layout: ImageLayout) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: layout.fileByteCount)
    for piece in layout.pieces {
      let content = piece.bytes(piece.range)
      #expect(content.count == piece.range.count)
      bytes.replace(at: piece.range.lower, with: content)
    }
    return bytes
  }

  private func options(
    _ size: Int, _ change: (inout NewImageOptions) -> Void = { _ in }
  ) -> NewImageOptions {
    var options = NewImageOptions(virtualSize: size)
    change(&options)
    return options
  }

  private func expect(
    _ options: NewImageOptions, is header: [UInt8], _ tables: [Int: String], byteCount: Int,
    _ comment: Comment
  ) throws {
    let made = file(try ImageLayout(options))
    var expected = image(byteCount, tables)
    expected.replace(at: 0, with: header)
    #expect(made.count == expected.count, comment)
    #expect(made.span.bytes.firstDifference(from: expected.span.bytes) == nil, comment)
  }

  @Test func newImagesAreByteForByteWhatQEMUCreates() throws {
    let tables = [0x10000: "00000000 00020000", 0x20000: "0001 0001 0001 0001"]
    try expect(
      options(64 << 20), is: GoldenHeaders.plain, tables, byteCount: 196616, "defaults")
    try expect(
      options(64 << 20) { $0.version = .v2 }, is: GoldenHeaders.version2, tables,
      byteCount: 196616, "compat=0.10")
    try expect(
      options(64 << 20) { $0.hasLazyRefcounts = true }, is: GoldenHeaders.lazyRefcounts, tables,
      byteCount: 196616, "lazy_refcounts=on")
    try expect(
      options(1 << 20) { $0.compressionType = .zstd }, is: GoldenHeaders.zstd, tables,
      byteCount: 196616, "compression_type=zstd")
    try expect(
      options(2 << 20) { $0.hasExtendedL2 = true }, is: GoldenHeaders.extendedL2, tables,
      byteCount: 196616, "extended_l2=on")
    for (version, header) in [
      (FormatVersion.v3, GoldenHeaders.overlay), (.v2, GoldenHeaders.overlayVersion2),
    ] {
      let overlay = options(1 << 20) {
        $0.version = version
        $0.backingFileName = "base.raw"
        $0.backingFormat = "raw"
      }
      try expect(overlay, is: header, tables, byteCount: 196616, "backing file, \(version)")
    }
  }

  @Test func imagesOfOtherClusterSizesAreWhatQEMUCreatesToo() throws {
    try expect(
      options(0), is: GoldenHeaders.empty,
      [0x10000: "00000000 00020000", 0x20000: "0001 0001 0001"], byteCount: 196608, "size 0")
    try expect(
      options(1 << 20) { $0.clusterSize = 512 }, is: GoldenHeaders.smallClusters,
      [0x200: "00000000 00000400", 0x400: "0001 0001 0001 0001"], byteCount: 1792, "512 bytes")
    try expect(
      options(1 << 20) { $0.clusterSize = 2 << 20 }, is: GoldenHeaders.largeClusters,
      [0x200000: "00000000 00400000", 0x400000: "0001 0001 0001 0001"], byteCount: 6_291_464,
      "2 MiB")
  }

  @Test func refcountsHaveTheirWidth() throws {
    // `qemu-img create -o refcount_bits=N`: four clusters in use.
    let blocks = ["0f", "55", "1111", "01010101", "0001*4", "00000001*4", "0000000000000001*4"]
    for (order, dump) in blocks.enumerated() {
      let bytes = file(
        try ImageLayout(options(1 << 20) { $0.refcountBits = 1 << order }))
      let expected = hex(dump)
      #expect(Array(bytes[0x20000..<0x20000 + expected.count]) == expected, "order \(order)")
      #expect(bytes[(0x20000 + expected.count)...].allSatisfy { $0 == 0 }, "order \(order)")
      #expect(Array(bytes[0x60..<0x64]) == [0, 0, 0, UInt8(order)])
    }
  }

  @Test func featureNamesComeWithClustersAbove4KiB() throws {
    for bits in 9...21 {
      let layout = try ImageLayout(options(1 << 20) { $0.clusterSize = 1 << bits })
      let hasNames = !layout.headerCluster.extensions.featureNames.isEmpty
      #expect(hasNames == (bits > 12), "cluster_bits \(bits)")
    }
  }

  @Test func theHeaderIsTheLastPiece() throws {
    let layout = try ImageLayout(options(64 << 20))
    #expect(layout.pieces.map(\.range.lower) == [0x10000, 0x20000, 0x30000, 0])
    #expect(layout.pieces[2].content == .zeros)
    #expect(try ImageLayout(options(0)).pieces.count == 3)
  }

  /// Checks everything that a layout must have, whatever its sizes.
  private func expectSound(_ options: NewImageOptions, _ comment: Comment) throws {
    let layout = try ImageLayout(options)
    let bytes = file(layout)
    let cluster = try HeaderCluster.parse(bytes.span.bytes, for: .readWrite)
    #expect(cluster == layout.headerCluster, comment)
    #expect(cluster.header.virtualSize == options.virtualSize, comment)
    #expect(cluster.regionDefects(fileByteCount: bytes.count).isEmpty, comment)
    let geometry = cluster.header.geometry
    let block = RefcountBlock(order: geometry.refcountOrder)
    let table = try #require(cluster.header.refcountTableRange)
    let used = geometry.clusterCount(forBytes: bytes.count)
    var counted = 0
    for position in stride(from: table.lower, to: table.upper, by: 8) {
      let entry = RefcountTableEntry(rawValue: bytes.span.bytes.bigEndian(at: position))
      guard let offset = entry.checkedBlock(geometry: geometry) else {
        #expect(entry.isNone, comment)
        continue
      }
      let range = ByteRange(offset: offset.value, count: geometry.clusterSize)
      let entries = 0..<geometry.entriesPerRefcountBlock
      let content = bytes.span.bytes.slice(range)
      let count = block.nonzeroCount(in: content, range: entries)
      let expected = min(used - counted, entries.count)
      #expect(count == expected && block.zeroTail(in: content, range: entries) == count, comment)
      counted += count
    }
    #expect(counted == used, comment)
  }

  @Test func tablesCountThemselvesWhateverTheirSize() throws {
    let cases: [(Int, Int, Int)] = [
      (512, 16, 1 << 30), (512, 64, 1 << 30), (512, 1, 1 << 30), (512, 16, 0), (512, 64, 3 << 30),
      (1024, 64, 16 << 30), (4096, 64, 8 << 30), (65536, 16, 1 << 40), (512, 64, 62 << 15),
      (512, 16, 252 << 15), (512, 16, 253 << 15),
    ]
    for (clusterSize, bits, size) in cases {
      let options = options(size) {
        $0.clusterSize = clusterSize
        $0.refcountBits = bits
      }
      try expectSound(options, "\(clusterSize) bytes, \(bits) bits, size \(size)")
    }
  }

  @Test func theLargestTableOfSmallClustersHasItsBlocks() throws {
    // 128 GiB in clusters of 512 bytes: an L1 table of 32 MiB in 65536 clusters.
    let layout = try ImageLayout(options(128 << 30) { $0.clusterSize = 512 })
    let header = layout.headerCluster.header
    #expect(header.l1EntryCount == 4_194_304)
    #expect(header.refcountTableClusters == 5)
    // 1 + 5 + 258 + 65536 clusters; 257 blocks would count 65792.
    #expect(layout.fileByteCount == (1 + 5 + 258 + 65536) * 512)
    let wide = try ImageLayout(
      options(128 << 30) {
        $0.clusterSize = 512
        $0.refcountBits = 64
      })
    #expect(wide.headerCluster.header.refcountTableClusters == 17)
  }

  static let refusals: [(String, @Sendable (inout NewImageOptions) -> Void)] = [
    ("Cluster size must be a power of two between 512 and 2048k", { $0.clusterSize = 3072 }),
    ("Cluster size must be a power of two between 512 and 2048k", { $0.clusterSize = 256 }),
    ("Cluster size must be a power of two between 512 and 2048k", { $0.clusterSize = 4 << 20 }),
    ("Cluster size must be a power of two between 512 and 2048k", { $0.clusterSize = -512 }),
    ("Cluster size must be a power of two between 512 and 2048k", { $0.clusterSize = 0 }),
    ("Image size must be a multiple of 512 bytes", { $0.virtualSize = 1 }),
    ("Image size must not be negative", { $0.virtualSize = -512 }),
    ("Refcount width must be a power of two and may not exceed 64 bits", { $0.refcountBits = 3 }),
    ("Refcount width must be a power of two and may not exceed 64 bits", { $0.refcountBits = 128 }),
    ("Refcount width must be a power of two and may not exceed 64 bits", { $0.refcountBits = 0 }),
    (
      "Different refcount widths than 16 bits require compatibility level 1.1 or above "
        + "(use version=v3 or greater)",
      {
        $0.version = .v2
        $0.refcountBits = 8
      }
    ),
    (
      "Lazy refcounts only supported with compatibility level 1.1 and above "
        + "(use version=v3 or greater)",
      {
        $0.version = .v2
        $0.hasLazyRefcounts = true
      }
    ),
    (
      "Non-zlib compression type is only supported with compatibility level 1.1 and above "
        + "(use version=v3 or greater)",
      {
        $0.version = .v2
        $0.compressionType = .zstd
      }
    ),
    (
      "Extended L2 entries are only supported with compatibility level 1.1 and above "
        + "(use version=v3 or greater)",
      {
        $0.version = .v2
        $0.hasExtendedL2 = true
        $0.clusterSize = 8192
      }
    ),
    (
      "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes",
      {
        $0.hasExtendedL2 = true
        $0.clusterSize = 8192
      }
    ),
    (
      "External data files are only supported with compatibility level 1.1 and above "
        + "(use version=v3 or greater)",
      {
        $0.version = .v2
        $0.dataFileName = "d"
      }
    ),
    ("data-file-raw requires data-file", { $0.isDataFileRaw = true }),
    (
      "Backing file and data-file-raw cannot be used at the same time",
      {
        $0.dataFileName = "d"
        $0.isDataFileRaw = true
        $0.backingFileName = "base"
        $0.backingFormat = "raw"
      }
    ),
    (
      "Backing file and preallocation can only be used at the same time if extended_l2 is on",
      {
        $0.preallocation = .metadata
        $0.backingFileName = "base"
        $0.backingFormat = "raw"
      }
    ),
    ("The data file's name is empty, too long or has a zero byte", { $0.dataFileName = "" }),
    ("Backing format cannot be used without backing file", { $0.backingFormat = "raw" }),
    ("Backing file specified without backing format", { $0.backingFileName = "base" }),
  ]

  private func refusal(_ options: NewImageOptions) -> String? {
    do {
      _ = try ImageLayout(options)
      return nil
    } catch {
      return error.message
    }
  }

  @Test func optionsThatTheFormatCannotExpressAreRefusedWithQEMUsTexts() {
    for (message, change) in Self.refusals {
      #expect(refusal(options(1 << 20, change)) == message)
    }
  }

  @Test func theLargestSizeIsTheL1TablesLimit() {
    let tooLarge =
      "The image size is too large for file format 'qcow2' (try using a larger cluster size)"
    for (clusterSize, limit) in [(512, 128 << 30), (65536, 2 << 50), (2 << 20, 2 << 60)] {
      func refusal(_ size: Int) -> String? {
        do {
          _ = try options(size) { $0.clusterSize = clusterSize }.geometry()
          return nil
        } catch {
          return error.message
        }
      }
      #expect(refusal(limit) == nil)
      #expect(refusal(limit + 512) == tooLarge)
    }
  }

  @Test func aBackingFileNameThatDoesNotFitIsRefused() {
    func message(_ count: Int) -> String? {
      refusal(
        options(1 << 20) {
          $0.clusterSize = 512
          $0.backingFileName = EmbeddedName(String(repeating: "n", count: count))
          $0.backingFormat = "raw"
        })
    }
    #expect(message(376) == nil)
    #expect(message(377)?.contains("do not fit into a cluster of 512 bytes") == true)
    #expect(message(1024) == "Backing file name too long")
  }
}
