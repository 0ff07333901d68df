import BlockLayer
import Execution
import Primitives
import Qcow2

/// An image of 4 KiB clusters and 1 MiB on a sparse disk in memory, whose first 16 clusters hold
/// data, with what it takes to damage it byte by byte.
struct DamagedImage: Sendable {
  static let clusterSize = 4096
  static let copied: UInt64 = 1 << 63
  static let compressed: UInt64 = 1 << 62

  let graph: BlockGraph
  let file: BlockNode
  let disk: MemoryDriver
  /// Where the active L1 table, the L2 table, the refcount table and the first block are.
  let l1: Int
  let l2: Int
  let refcountTable: Int
  let refcountBlock: Int
  let refcountBits: Int

  static func make(
    in world: World, version: FormatVersion = .v3, refcountBits: Int = 16
  ) async throws -> DamagedImage {
    var options = NewImageOptions(virtualSize: 1 << 20)
    options.clusterSize = clusterSize
    options.version = version
    options.refcountBits = refcountBits
    let disk = MemoryDriver(length: 0, growsOnWrite: true)
    let graph = makeGraph(in: world)
    let file = try graph.addNode(disk, name: "file")
    try await Qcow2Driver.create(options, in: file)
    let node = try await graph.open(file: file, OpenOptions(format: "qcow2"))
    let door = try BlockBackend(node, in: graph)
    for index in 0..<16 { try await door.fill(1, at: index * clusterSize, count: clusterSize) }
    await door.close()
    try await graph.close(node)
    let l1 = Int(try await word(40, of: file))
    let table = Int(try await word(48, of: file))
    return DamagedImage(
      graph: graph, file: file, disk: disk, l1: l1,
      l2: Int(try await word(l1, of: file) & 0x00ff_ffff_ffff_fe00), refcountTable: table,
      refcountBlock: Int(try await word(table, of: file)), refcountBits: refcountBits)
  }

  static func makeGraph(in world: World) -> BlockGraph {
    var registry = DriverRegistry()
    registry.addFormat("qcow2") { (node, context) throws(BlockError) in
      try await Qcow2Driver.open(node, context)
    }
    return BlockGraph(world: world, registry: registry, policy: .none)
  }

  // MARK: - Bytes

  private static func word(_ offset: Int, of file: BlockNode) async throws -> UInt64 {
    var buffer = IOBuffer(byteCount: 8)
    var bytes = buffer.mutableBytes
    try await file.read(ByteRange(offset: offset, count: 8), into: &bytes)
    return bytes.bytes.bigEndian(at: 0)
  }

  func word(at offset: Int) async throws -> UInt64 { try await Self.word(offset, of: file) }

  func write(bytes: [UInt8], at offset: Int) async throws {
    try await file.write(ByteRange(offset: offset, count: bytes.count), from: bytes.span.bytes)
  }

  func write(_ words: [UInt64], at offset: Int) async throws {
    try await write(bytes: words.flatMap(Self.bytes), at: offset)
  }

  func write(_ value: UInt32, at offset: Int) async throws {
    try await write(bytes: Self.bytes(value), at: offset)
  }

  static func bytes(_ value: some FixedWidthInteger) -> [UInt8] {
    stride(from: value.bitWidth - 8, through: 0, by: -8).map {
      UInt8(truncatingIfNeeded: value >> $0)
    }
  }

  // MARK: - Structures

  /// The host offset of the `index`-th of the clusters with data.
  func data(_ index: Int) async throws -> Int {
    Int(try await word(at: l2 + index * 8) & 0x00ff_ffff_ffff_fe00)
  }

  func setEntry(_ index: Int, _ entry: UInt64) async throws {
    try await write([entry], at: l2 + index * 8)
  }

  /// Sets a refcount; `cluster` is counted by the first block.
  func setRefcount(_ value: UInt64, of cluster: Int) async throws {
    var block = IOBuffer(byteCount: Self.clusterSize)
    var bytes = block.mutableBytes
    let range = ByteRange(offset: refcountBlock, count: bytes.byteCount)
    try await file.read(range, into: &bytes)
    RefcountBlock(order: refcountBits.exponentOfTwo).store(value, at: cluster, in: &bytes)
    try await file.write(range, from: bytes.bytes)
  }

  func setRefcount(_ value: UInt64, ofOffset offset: Int) async throws {
    try await setRefcount(value, of: offset / Self.clusterSize)
  }

  /// Appends a cluster with refcount 1; answers its offset.
  func append(_ bytes: [UInt8]) async throws -> Int {
    let offset = file.length.roundedUp(to: Self.clusterSize)
    try await write(
      bytes: bytes + [UInt8](repeating: 0, count: Self.clusterSize - bytes.count), at: offset)
    try await setRefcount(1, ofOffset: offset)
    return offset
  }

  func append(_ words: [UInt64]) async throws -> Int {
    try await append(words.flatMap(Self.bytes))
  }

  // MARK: - Checking

  /// Opens for a check, checks, closes.
  func check(limits: CheckLimits = CheckLimits()) async throws -> ImageCheck {
    var options = OpenOptions(format: "qcow2", readOnly: true)
    options.isForCheck = true
    let node = try await graph.open(file: file, options)
    guard let driver = node.driver as? Qcow2Driver else { throw BlockError(.io, "no qcow2") }
    let result = try await driver.check(limits: limits)
    try await graph.close(node)
    return result
  }
}

/// The check of an image that `damage` was done to.
func check(
  version: FormatVersion = .v3, refcountBits: Int = 16, limits: CheckLimits = CheckLimits(),
  after damage: @escaping @Sendable (DamagedImage) async throws -> Void
) async throws -> ImageCheck {
  let world = World.simulated(seed: 1)
  return try await world.run { () async throws -> ImageCheck in
    let image = try await DamagedImage.make(
      in: world, version: version, refcountBits: refcountBits)
    try await damage(image)
    return try await image.check(limits: limits)
  }
}

extension ImageCheck {
  var messages: [String] { findings.map(\.message) }

  /// Whether nothing is wrong.
  var isClean: Bool {
    leaks == 0 && corruptions == 0 && checkErrors == 0 && isComplete
      && findings.allSatisfy { $0.kind == .notice }
  }
}
