import BlockLayer
import Execution
import Primitives
import Qcow2

/// A valid image of a few dozen clusters, and where its structures are.
struct SmallImage: Sendable {
  /// What it is an example of.
  let name: String
  let contents: [UInt8]
  let clusterSize: Int
  /// The pieces of the file that decide most: header, tables, blocks, tables of extensions.
  let places: [Int]
  /// Whether it stands on another disk.
  let hasBacking: Bool
  /// Whether its data is in another file.
  var hasDataFile = false

  /// The size of each disk, and of the one below: two L2 tables of the smallest clusters.
  static let diskSize = 64 << 10

  static let all: [SmallImage] =
    [
      make("plain", NewImageOptions(small: 512)),
      make("version2", NewImageOptions(small: 512, .v2)),
      make("bits1", NewImageOptions(small: 512, refcountBits: 1)),
      make("bits64", NewImageOptions(small: 512, refcountBits: 64)),
      make("overlay", NewImageOptions(small: 512, isOverlay: true)),
      make("overlay2", NewImageOptions(small: 512, .v2, isOverlay: true)),
      make("extended", NewImageOptions(small: 16384, isOverlay: true, hasExtendedL2: true)),
      make("bitmaps", NewImageOptions(small: 4096), bitmaps: true),
      make("data file", NewImageOptions(small: 4096)).withDataFile(),
      make("snapshots", NewImageOptions(small: 512), snapshots: true),
      make("snapshots2", NewImageOptions(small: 512, .v2, isOverlay: true), snapshots: true),
      make("deflate", NewImageOptions(small: 4096), compressed: true),
      make("dirty", NewImageOptions(small: 512)).markedDirty(),
    ] + zstd

  #if HAS_ZSTD
  private static let zstd = [
    make("zstd", NewImageOptions(small: 4096, compression: .zstd), compressed: true)
  ]
  #else
  private static let zstd: [SmallImage] = []
  #endif

  private static func make(
    _ name: String, _ options: NewImageOptions, bitmaps: Bool = false, snapshots: Bool = false,
    compressed: Bool = false
  ) -> SmallImage {
    let world = World.simulated(seed: 1)
    do {
      return try world.runBlocking { () async throws -> SmallImage in
        let disk = MemoryDriver(length: 0, growsOnWrite: true)
        let graph = Opened.makeGraph(in: world)
        let file = try graph.addNode(disk, name: "file")
        try await Qcow2Driver.create(options, in: file)
        let node = try await graph.open(
          file: file, OpenOptions(format: "qcow2", backing: .ignore))
        if bitmaps {
          try node.addBitmap("one", granularity: 512, persistent: true)
          try node.addBitmap("two", granularity: 4096, persistent: true, disabled: true)
        }
        let door = try BlockBackend(node, in: graph)
        // Data, zeros and holes, in both L2 tables.
        for place in [0, 4096, 33280] { try await door.fill(7, at: place, count: 3072) }
        if options.version == .v3 { try await door.writeZeroes(ByteRange(8192, 24576)) }
        if snapshots {
          try await graph.createSnapshot(named: "first", of: node)
          try await door.fill(8, at: 1024, count: 2048)
          try await graph.createSnapshot(named: "second", of: node)
          try await door.fill(9, at: 34816, count: 512)
        }
        if compressed {
          for cluster in 4..<7 {
            let bytes = [UInt8](repeating: UInt8(cluster), count: 4000) + Array(0..<96)
            let range = ByteRange(offset: cluster * 4096, count: 4096)
            try await node.writeCompressed(range, from: bytes.span.bytes)
          }
        }
        await door.close()
        try await graph.close(node)
        let contents = try await disk.contents()
        return SmallImage(
          name: name, contents: contents, clusterSize: options.clusterSize,
          places: Self.places(contents, options.clusterSize),
          hasBacking: options.backingFileName != nil)
      }
    } catch {
      fatalError("the image '\(name)' cannot be made: \(error)")
    }
  }

  /// Header, L1 table, its first L2 tables, refcount table and block; directory and snapshots.
  private static func places(_ contents: [UInt8], _ clusterSize: Int) -> [Int] {
    let bytes = contents.span.bytes
    func word(_ offset: Int) -> Int {
      offset + 8 <= bytes.byteCount
        ? Int(bytes.bigEndian(UInt64.self, at: offset) & 0x00ff_ffff_ffff_fe00) : 0
    }
    let l1 = word(40)
    let refcounts = word(48)
    let snapshots = word(64)
    var places = [0, l1, word(l1), word(l1 + 8), refcounts, word(refcounts)]
    if snapshots > 0 { places += [snapshots, word(snapshots), word(word(snapshots))] }
    let extensions = try? HeaderCluster.parse(bytes, for: .check).extensions
    if let directory = extensions?.bitmaps?.directoryOffset.value {
      places += [directory, word(directory), word(word(directory))]
    }
    places = places.filter { $0 + clusterSize <= (contents.count).roundedUp(to: clusterSize) }
    return places.isEmpty ? [0] : places
  }

  /// The same, marked as one whose refcounts may be stale.
  private func markedDirty() -> SmallImage {
    var bytes = contents
    bytes[79] |= 1
    return SmallImage(
      name: name, contents: bytes, clusterSize: clusterSize, places: places,
      hasBacking: hasBacking)
  }

  /// The same, with its data in another file: the mapping goes, as its offsets mean nothing there.
  private func withDataFile() -> SmallImage {
    var bytes = contents
    bytes[79] |= 4
    for table in places[2...3] {
      for index in table..<table + clusterSize { bytes[index] = 0 }
    }
    var copy = SmallImage(
      name: name, contents: bytes, clusterSize: clusterSize, places: places, hasBacking: false)
    copy.hasDataFile = true
    return copy
  }
}

extension NewImageOptions {
  fileprivate init(
    small clusterSize: Int, _ version: FormatVersion = .v3, refcountBits: Int = 16,
    isOverlay: Bool = false, hasExtendedL2: Bool = false, compression: CompressionType = .deflate
  ) {
    self.init(virtualSize: SmallImage.diskSize)
    self.clusterSize = clusterSize
    self.version = version
    self.refcountBits = refcountBits
    self.hasExtendedL2 = hasExtendedL2
    compressionType = compression
    guard isOverlay else { return }
    backingFileName = "below"
    backingFormat = "raw"
  }
}
