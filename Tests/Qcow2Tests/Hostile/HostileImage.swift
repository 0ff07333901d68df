import BlockLayer
import Execution
import Primitives
import Qcow2

/// The bytes of a small valid image, for an enemy to change: 64 clusters of guest data, every third
/// of them allocated, in clusters of 512 bytes.
struct HostileImage: Sendable {
  static let copied: UInt64 = 1 << 63
  static let clusterSize = 512
  static let diskSize = 32 << 10

  var bytes: [UInt8]
  /// The structures of the image as it was made.
  let l1: Int
  let l2: Int
  let refcountTable: Int
  let refcountBlock: Int

  /// An image of version 3, without anything special.
  static func make(
    version: FormatVersion = .v3, refcountBits: Int = 16
  ) async throws -> HostileImage {
    let world = World.simulated(seed: 1)
    return try await world.run { () async throws -> HostileImage in
      var options = NewImageOptions(virtualSize: diskSize)
      options.clusterSize = clusterSize
      options.version = version
      options.refcountBits = refcountBits
      let file = try await MeteredDriver([])
      let graph = DamagedImage.makeGraph(in: world)
      let below = try graph.addNode(file, name: "file")
      try await Qcow2Driver.create(options, in: below)
      let node = try await graph.open(file: below, OpenOptions(format: "qcow2"))
      let door = try BlockBackend(node, in: graph)
      for cluster in stride(from: 0, to: 64, by: 3) {
        try await door.fill(UInt8(cluster + 1), at: cluster * clusterSize, count: clusterSize)
      }
      await door.close()
      try await graph.close(node)
      return HostileImage(try await file.contents)
    }
  }

  init(_ bytes: [UInt8]) {
    self.bytes = bytes
    func word(_ offset: Int) -> Int {
      Int(bytes.span.bytes.bigEndian(UInt64.self, at: offset) & 0x00ff_ffff_ffff_fe00)
    }
    l1 = word(40)
    l2 = word(l1)
    refcountTable = word(48)
    refcountBlock = word(refcountTable)
  }

  // MARK: - Changes

  /// Puts numbers into the file, big-endian, in their own width.
  mutating func set<each Number: FixedWidthInteger>(
    _ numbers: repeat each Number, at offset: Int
  ) {
    var new: [UInt8] = []
    for number in repeat each numbers { new += DamagedImage.bytes(number) }
    if offset + new.count > bytes.count {
      bytes += Array(repeating: 0, count: offset + new.count - bytes.count)
    }
    bytes.replace(at: offset, with: new)
  }

  /// The image with a change.
  func with(_ change: (inout HostileImage) -> Void) -> [UInt8] {
    var copy = self
    change(&copy)
    return copy.bytes
  }

  func word(at offset: Int) -> UInt64 { bytes.span.bytes.bigEndian(at: offset) }

  /// Where the entry of a guest cluster is.
  func entry(_ cluster: Int) -> Int { l2 + cluster * 8 }

  /// Where the data of a guest cluster is.
  func data(_ cluster: Int) -> UInt64 { word(at: entry(cluster)) & 0x00ff_ffff_ffff_fe00 }
}
