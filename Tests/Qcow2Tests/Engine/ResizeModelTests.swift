import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Qcow2
import Testing

/// Disks that grow, shrink and are written at random, beside an array of bytes.
@Suite struct ResizeModelTests {
  static let geometries: [ResizedGeometry] = [
    ResizedGeometry(512, 64), ResizedGeometry(512, 1), ResizedGeometry(512, 16, .v2),
    ResizedGeometry(1024, 8), ResizedGeometry(4096, 2), ResizedGeometry(4096, 16, .v2),
    ResizedGeometry(65536, 4), ResizedGeometry(65536, 16),
    ResizedGeometry(16384, 16, isExtended: true), ResizedGeometry(65536, 1, isExtended: true),
    ResizedGeometry(512, 16, dataFile: .data), ResizedGeometry(4096, 64, dataFile: .raw),
    ResizedGeometry(16384, 8, isExtended: true, dataFile: .data),
  ]

  @Test(arguments: 0..<52)
  func whateverItsSizesWereADiskShowsWhatItShould(seed: Int) async throws {
    let geometry = Self.geometries[seed % Self.geometries.count]
    let world = World.simulated(seed: UInt64(seed))
    let problem = try await world.run { () async throws -> String? in
      var run = try await ResizedDisk(geometry, in: world)
      for step in 0..<60 {
        if let problem = try await run.step(step + 1) { return "step \(step): \(problem)" }
      }
      return try await run.close()
    }
    #expect(problem == nil, "seed \(seed), \(geometry)")
  }
}

/// What sort of image is resized.
struct ResizedGeometry {
  enum DataFile { case data, raw }

  let clusterSize: Int
  let refcountBits: Int
  let version: FormatVersion
  let isExtended: Bool
  let dataFile: DataFile?

  init(
    _ clusterSize: Int, _ refcountBits: Int, _ version: FormatVersion = .v3,
    isExtended: Bool = false, dataFile: DataFile? = nil
  ) {
    self.clusterSize = clusterSize
    self.refcountBits = refcountBits
    self.version = version
    self.isExtended = isExtended
    self.dataFile = dataFile
  }

  func options(_ size: Int) -> NewImageOptions {
    var options = NewImageOptions(virtualSize: size)
    options.clusterSize = clusterSize
    options.refcountBits = refcountBits
    options.version = version
    options.hasExtendedL2 = isExtended
    if dataFile != nil { options.dataFileName = "data" }
    options.isDataFileRaw = dataFile == .raw
    return options
  }
}

/// An image, perhaps over a backing disk whose contents must never show where they were hidden, and
/// the bytes that its guest must see.
private struct ResizedDisk {
  let image: ImageFixture
  let door: BlockBackend
  var bytes: [UInt8]
  let clusterSize: Int
  let geometry: ResizedGeometry
  let dataFile: BlockNode?
  var random: SeededGenerator

  static let sectors = 1200

  init(_ geometry: ResizedGeometry, in world: World) async throws {
    self.geometry = geometry
    random = world.makeRandom("resizes")
    clusterSize = geometry.clusterSize
    let size = 512 * Int.random(in: 1...600, using: &random)
    image = try await ImageFixture.create(geometry.options(size), in: world, discard: .unmap)
    bytes = [UInt8](repeating: 0, count: size)
    if geometry.dataFile != nil {
      let data = SimulatedDisk(
        SparseImage(length: size), in: world, schedulingPoints: false)
      dataFile = try image.graph.addNode(
        data, name: "data", options: NodeOptions(discard: .unmap))
    } else {
      dataFile = nil
    }
    guard Bool.random(using: &random), geometry.dataFile != .raw else {
      door = try await image.open(dataFile: dataFile)
      return
    }
    let length = 512 * Int.random(in: 1...Self.sectors, using: &random)
    let base = MemoryDriver(length: length)
    let node = try image.graph.addNode(base, name: "base")
    let contents = [UInt8](repeating: 0xbb, count: length)
    try await node.write(ByteRange(0, length), from: contents.span.bytes)
    let shown = min(length, size)
    bytes.replaceSubrange(0..<shown, with: contents[..<shown])
    door = try await image.open(backing: node, dataFile: dataFile)
  }

  /// Does something at random; answers what is wrong then.
  mutating func step(_ number: Int) async throws -> String? {
    switch Int.random(in: 0..<8, using: &random) {
    case 0, 1: return try await resize()
    case 2:
      let range = range()
      try await door.writeZeroes(range, mayUnmap: Bool.random(using: &random))
      bytes.replaceSubrange(
        range.lower..<range.upper, with: repeatElement(0, count: range.count))
    case 3: return try await discard()
    case 4: try await door.flush()
    default:
      let range = range()
      let new = WritePattern.bytes(range, write: number)
      try await door.write(new, at: range.lower)
      bytes.replaceSubrange(range.lower..<range.upper, with: new)
    }
    return nil
  }

  private mutating func range() -> ByteRange {
    guard !bytes.isEmpty else { return ByteRange(0, 0) }
    let lower = Int.random(in: 0..<bytes.count, using: &random)
    let count = Int.random(in: 1...3 * clusterSize, using: &random)
    return ByteRange(lower, min(bytes.count, lower + count))
  }

  /// Where anything is discarded, zeros are, or what was there before.
  private mutating func discard() async throws -> String? {
    let range = range()
    try await door.discard(range)
    let found = try await door.read(at: range.lower, count: range.count)
    for (index, byte) in found.enumerated() where byte != bytes[range.lower + index] {
      if byte != 0 { return "discarding \(range) left \(byte) at \(range.lower + index)" }
    }
    bytes.replaceSubrange(range.lower..<range.upper, with: found)
    return nil
  }

  private mutating func resize() async throws -> String? {
    let length = 512 * Int.random(in: 0...Self.sectors, using: &random)
    let isGrowth = length > bytes.count
    let modes: [Preallocation] = isGrowth ? [.off, .off, .metadata, .falloc, .full] : [.off]
    let mode = modes.randomElement(using: &random) ?? .off
    let old = bytes.count
    try await door.resize(to: length, mayShrink: true, preallocation: mode)
    if isGrowth {
      bytes += [UInt8](repeating: 0, count: length - old)
    } else {
      bytes.removeLast(old - length)
    }
    let what = "from \(old) to \(length), \(mode)"
    let found = try await door.read(at: 0, count: length)
    if let place = found.span.bytes.firstDifference(from: bytes.span.bytes) {
      return "\(what): \(found[place]) at \(place), not \(bytes[place])"
    }
    if isGrowth {
      let new = ByteRange(min(old.roundedUp(to: clusterSize), length), length)
      guard mode != .off, !new.isEmpty, !geometry.isExtended else { return nil }
      let status = try await door.node.driver.status(new)
      return status.isAllocated && status.isData ? nil : "\(what): \(status)"
    }
    return try await verifyFile(what)
  }

  /// What is wrong with the image after shrinking: nothing leaks, and the file ends with what is
  /// used of it.
  private func verifyFile(_ what: String) async throws -> String? {
    guard let check = try await check(door) else { return nil }
    guard check.isClean else { return "\(what): \(check.findings.map(\.message))" }
    let end = max(check.imageEndOffset, clusterSize)
    return image.disk.length <= end ? nil : "\(what): \(image.disk.length) bytes, not \(end)"
  }

  /// What a check finds; nil for images that it does not know yet.
  private func check(_ door: BlockBackend) async throws -> ImageCheck? {
    let driver = try #require(door.node.driver as? Qcow2Driver)
    do throws(BlockError) {
      return try await driver.check()
    } catch {
      guard error.code == .unsupported else { throw error }
      return nil
    }
  }

  /// Closes the image, and looks at it once more.
  func close() async throws -> String? {
    try await image.close(door)
    if geometry.dataFile == .raw, let dataFile {
      var buffer = IOBuffer(byteCount: bytes.count)
      var raw = buffer.mutableBytes
      try await dataFile.read(ByteRange(0, bytes.count), into: &raw)
      guard dataFile.length == bytes.count, raw.bytes.elementsEqual(bytes.span.bytes) else {
        return "the data file is not what the guest saw"
      }
    }
    let reader = try await image.open(readOnly: true, dataFile: dataFile)
    guard let check = try await check(reader) else { return nil }
    return check.isClean ? nil : "closed: \(check.findings.map(\.message))"
  }
}
