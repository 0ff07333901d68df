internal import AllocationCounter
internal import BitmapWorkloads
internal import BlockLayer
internal import Execution
internal import Foundation
internal import Lamina
internal import Primitives
internal import Qcow2

/// Requests to a qcow2 image beside bare system calls at the same offsets of a raw file, inside of
/// one World, with the page cache warm.
final class ImageIO {
  static let suite = "image-io"
  static let length = 256 << 20

  let folder: String
  let graph: BlockGraph
  let disk: BlockBackend
  let bare: BareFile
  let offsets = Pattern.points(length / 4096, count: 1 << 17).map { $0 * 4096 }
  let small = RequestBuffer(4096)
  let large = RequestBuffer(1 << 20)
  let fresh: FreshImage
  /// Where the next sample takes its offsets: contenders have one each, and see the same.
  private var positions: [String: Int] = [:]

  /// Makes an image and a raw file below `place`, all of both allocated and in the page cache.
  init(world: World, in place: String) async throws {
    let folder = "\(place)/lamina-ratios-\(ProcessInfo.processInfo.processIdentifier)"
    self.folder = folder
    try FileManager.default.createDirectory(
      atPath: folder, withIntermediateDirectories: true)
    graph = BlockGraph(world: world)
    try await graph.createQcow2(at: "\(folder)/image.qcow2", size: ImageIO.length)
    disk = try await graph.openDisk("\(folder)/image.qcow2")
    bare = try BareFile(creating: "\(folder)/bare.raw")
    fresh = FreshImage(graph, "\(folder)/fresh.qcow2", size: 64 << 20)
    for offset in stride(from: 0, to: ImageIO.length, by: large.bytes.count) {
      try await ImageIO.write(disk, offset, large)
      bare.write(offset, from: large.bytes)
    }
    try await disk.flush()
    bare.flush()
  }

  /// Closes the image and removes the files.
  func close() async throws {
    try await graph.closeDisk(disk)
    try await fresh.close()
    try FileManager.default.removeItem(atPath: folder)
  }

  static func read(_ disk: BlockBackend, _ offset: Int, _ buffer: RequestBuffer) async throws {
    var bytes = MutableRawSpan(_unsafeBytes: buffer.bytes)
    try await disk.read(ByteRange(offset: offset, count: buffer.bytes.count), into: &bytes)
  }

  static func write(_ disk: BlockBackend, _ offset: Int, _ buffer: RequestBuffer) async throws {
    let bytes = RawSpan(_unsafeBytes: UnsafeRawBufferPointer(buffer.bytes))
    try await disk.write(ByteRange(offset: offset, count: buffer.bytes.count), from: bytes)
  }

  /// The next `count` random offsets for `user`.
  func nextOffsets(_ count: Int, for user: String) -> ArraySlice<Int> {
    let start = positions[user, default: 0]
    positions[user] = (start + count) % (offsets.count - count)
    return offsets[start..<start + count]
  }
}

/// Requests one after the other.
extension ImageIO {
  /// All contests, in the order of the table.
  var contests: [Contest] { [randomReads, sequentialReads, overwrites, allocatingWrites] }

  private var randomReads: Contest {
    let count = 4096
    let ours = Contender(requests: Contender.ours) {
      for offset in self.nextOffsets(count, for: "read") {
        try await ImageIO.read(self.disk, offset, self.small)
      }
    }
    let yardstick = Contender("pread") {
      for offset in self.nextOffsets(count, for: "pread") {
        self.bare.read(offset, into: self.small.bytes)
      }
    }
    return Contest(
      operation: "read 4 KiB", subject: "random", unit: "request", unitCount: count,
      contenders: [ours, yardstick], yardstick: "pread", bar: .timesYardstick(1.6))
  }

  private var sequentialReads: Contest {
    let count = 128
    let size = large.bytes.count
    let ours = Contender(requests: Contender.ours) {
      for index in 0..<count { try await ImageIO.read(self.disk, index * size, self.large) }
    }
    let yardstick = Contender("pread") {
      for index in 0..<count { self.bare.read(index * size, into: self.large.bytes) }
    }
    return Contest(
      operation: "read 1 MiB", subject: "sequential", unit: "request", unitCount: count,
      contenders: [ours, yardstick], yardstick: "pread", bar: .timesYardstick(1.1))
  }

  private var overwrites: Contest {
    let count = 4096
    let ours = Contender(requests: Contender.ours) {
      for offset in self.nextOffsets(count, for: "write") {
        try await ImageIO.write(self.disk, offset, self.small)
      }
    }
    let yardstick = Contender("pwrite") {
      for offset in self.nextOffsets(count, for: "pwrite") {
        self.bare.write(offset, from: self.small.bytes)
      }
    }
    return Contest(
      operation: "overwrite 4 KiB", subject: "random", unit: "request", unitCount: count,
      contenders: [ours, yardstick], yardstick: "pwrite", bar: .timesYardstick(1.5))
  }

  /// Into a new image and a hole, from the start on; nothing is flushed.
  private var allocatingWrites: Contest {
    let count = (64 << 20) / 65536
    let buffer = RequestBuffer(65536)
    let fresh = fresh
    let hole = try? BareFile(creating: "\(folder)/hole.raw")
    var ours = Contender(requests: Contender.ours) {
      for index in 0..<count { try await ImageIO.write(fresh.disk, index * 65536, buffer) }
    }
    ours.prepare = { try await fresh.renew() }
    let yardstick = Contender("pwrite", prepare: { try hole?.becomeHole(count * 65536) }) {
      for index in 0..<count { hole?.write(index * 65536, from: buffer.bytes) }
    }
    return Contest(
      operation: "allocate 64 KiB", subject: "sequential", unit: "request", unitCount: count,
      contenders: [ours, yardstick], yardstick: "pwrite", bar: .timesYardstick(1.5))
  }
}

/// An image that is made anew, empty, for each sample.
final class FreshImage {
  private let graph: BlockGraph
  private let path: String
  private let size: Int
  private var opened: BlockBackend?

  init(_ graph: BlockGraph, _ path: String, size: Int) {
    self.graph = graph
    self.path = path
    self.size = size
  }

  var disk: BlockBackend {
    get throws {
      guard let opened else { throw RunnerError("the fresh image is not open") }
      return opened
    }
  }

  func renew() async throws {
    try await close()
    try? FileManager.default.removeItem(atPath: path)
    try await graph.createQcow2(at: path, size: size)
    opened = try await graph.openDisk(path)
  }

  func close() async throws {
    if let opened { try await graph.closeDisk(opened) }
    opened = nil
  }
}
