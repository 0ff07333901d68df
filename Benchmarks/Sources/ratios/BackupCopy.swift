internal import BitmapWorkloads
internal import BlockLayer
internal import DirtyBitmap
internal import Execution
internal import Foundation
internal import Lamina
internal import Primitives
internal import Qcow2

/// Whole backups by the command `lamina`, from its start to its end, beside the qemu tools where
/// they are installed, and bare copying.
///
/// The page cache is warm, and nothing waits to be written when a sample begins.
final class BackupCopy {
  static let suite = "backup-copy"
  static let granularity = 65536

  /// What is to be measured, in bytes and granules.
  struct Sizes {
    var data = 1 << 30
    var sparseDisk = 1 << 40
    var dirtyGranules = 1000
  }

  let sizes: Sizes
  let lamina: String
  let qemuImg = ChildProcess.path(of: "qemu-img")
  let daemon = ChildProcess.path(of: "qemu-storage-daemon").map { StorageDaemon(program: $0) }
  private let graph: BlockGraph
  let folder: String
  /// The most memory that a contender's program had, by name.
  private(set) var peakMemory: [String: Int] = [:]

  init(_ world: World, _ sizes: Sizes, lamina: String, in place: String) throws {
    self.sizes = sizes
    self.lamina = lamina
    graph = BlockGraph(world: world)
    folder = "\(place)/lamina-ratios-\(ProcessInfo.processInfo.processIdentifier)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
  }

  /// Removes all files.
  func close() throws { try FileManager.default.removeItem(atPath: folder) }

  /// Which peers are left out, and why; nil when none is.
  var absence: String? {
    let absent = [("qemu-img", qemuImg != nil), ("qemu-storage-daemon", daemon != nil)].filter {
      !$0.1
    }
    if absent.isEmpty { return nil }
    return "left out, since not installed: \(absent.map(\.0).joined(separator: ", "))"
  }

  func path(_ name: String) -> String { "\(folder)/\(name)" }

  func remove(_ names: String...) {
    for name in names { try? FileManager.default.removeItem(atPath: path(name)) }
  }

  /// A contender that is another program.
  func program(
    _ name: String, prepare: @escaping () async throws -> Void, _ work: @escaping () throws -> Int
  ) -> Contender {
    var contender = Contender(requests: name) {
      let peak = try work()
      self.peakMemory[name] = max(self.peakMemory[name] ?? 0, peak)
    }
    contender.prepare = {
      try await prepare()
      sync()
    }
    return contender
  }

  /// The contest's row, with the memory of its programs.
  func row(_ contest: Contest, _ measurement: Measurement) async throws -> Row {
    peakMemory = [:]
    var row = try await contest.row(suite: Self.suite, measurement)
    row.peakMemoryBytes = peakMemory
    return row
  }

  // MARK: - Disks

  /// Makes an empty disk.
  func makeDisk(_ name: String, size: Int) async throws {
    try await graph.createQcow2(at: path(name), size: size)
  }

  /// Writes random bytes to a disk, `count` at each of `offsets`; answers where they lie in its
  /// file.
  func write(_ name: String, at offsets: [Int], count: Int) async throws -> [Int] {
    let disk = try await graph.openDisk(path(name))
    let buffer = RequestBuffer(count)
    var random = RandomWords(seed: 1)
    var places: [Int] = []
    for offset in offsets {
      random.fill(buffer.bytes)
      try await ImageIO.write(disk, offset, buffer)
    }
    for offset in offsets {
      let status = try await disk.node.chainStatus(ByteRange(offset: offset, count: count))
      status.status.offset.map { places.append($0) }
    }
    try await graph.closeDisk(disk)
    return places
  }

  /// The names of the bitmaps that a disk has.
  func bitmaps(of name: String) async throws -> [String] {
    let disk = try await graph.openDisk(path(name))
    let names = disk.node.bitmaps.all.compactMap(\.name)
    try await graph.closeDisk(disk)
    return names
  }

  /// Takes all bitmaps off a disk, so that its next backup is full.
  func removeBitmaps(of name: String) async throws {
    let disk = try await graph.openDisk(path(name))
    for bitmap in disk.node.bitmaps.all.compactMap(\.name) {
      try await disk.node.removeBitmap(bitmap)
    }
    try await graph.closeDisk(disk)
  }
}

/// Bytes that no compression makes smaller; the same for the same seed.
struct RandomWords {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func fill(_ bytes: UnsafeMutableRawBufferPointer) {
    for index in stride(from: 0, to: bytes.count - 7, by: 8) {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      bytes.storeBytes(of: state, toByteOffset: index, as: UInt64.self)
    }
  }
}
