import BlockLayer
import BlockTestKit
import Execution
import Foundation
import Primitives
import QEMUTools
import Testing

@testable import Qcow2

/// Compressed images beside the qemu tools: theirs read by us, ours by them.
@Suite(.enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"))
struct CompressedOracleTests {
  static let options: [(text: String, clusterSize: Int)] =
    [512, 4096, 65536, 2 << 20].flatMap { size in
      CompressedModelTests.types.map { ("compression_type=\($0),cluster_size=\(size)", size) }
    }

  /// A disk of text, noise and zeros, not of whole clusters.
  private static func contents(_ seed: UInt64) -> [UInt8] {
    var random = SeededGenerator(seed: seed)
    var bytes: [UInt8] = []
    while bytes.count < (3 << 20) + 1536 {
      let count = Int(random.next(upperBound: UInt(90000))) + 1
      switch random.next(upperBound: UInt(4)) {
      case 0: bytes += [UInt8](repeating: 0, count: count)
      case 1: bytes += (0..<count).map { _ in random.next(upperBound: UInt8.max) }
      default:
        let period = Int(random.next(upperBound: UInt(300))) + 5
        bytes += (0..<count).map { UInt8($0 % period & 0xff) ^ UInt8($0 >> 12 & 0xff) }
      }
    }
    return Array(bytes.prefix((3 << 20) + 1536))
  }

  /// Puts a file in memory.
  private static func image(at path: String, in world: World) async throws -> ImageFixture {
    let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
    let disk = SimulatedDisk(SparseImage(bytes), in: world, schedulingPoints: false)
    let graph = DamagedImage.makeGraph(in: world)
    let file = try graph.addNode(disk, name: "file")
    return ImageFixture(world: world, graph: graph, file: file, disk: disk)
  }

  @Test(arguments: options.indices)
  func theirCompressedImagesReadAsTheirSource(index: Int) async throws {
    let folder = try ScratchFolder()
    let (raw, path) = (folder.file("raw"), folder.file("image.qcow2"))
    let contents = Self.contents(UInt64(index))
    try Data(contents).write(to: URL(fileURLWithPath: raw))
    try QEMUTools.run(
      "qemu-img",
      ["convert", "-c", "-O", "qcow2", "-o", Self.options[index].text, raw, path])
    let world = World.simulated(seed: 1)
    try await world.run { () async throws in
      let image = try await Self.image(at: path, in: world)
      let disk = try await image.open(readOnly: true)
      let bytes = try await disk.read(at: 0, count: disk.length)
      #expect(bytes == contents)
      try await image.close(disk)
      let ours = try await image.check()
      let theirs = try #require(try QemuImg.check(path).result)
      #expect(ours.isClean && ours.compressedClusters == theirs.compressedClusters)
      #expect(theirs.compressedClusters > 0)
    }
  }

  @Test(arguments: options.indices)
  func whatWeWriteCompressedIsWhatTheyRead(index: Int) async throws {
    let folder = try ScratchFolder()
    let (raw, path) = (folder.file("raw"), folder.file("image.qcow2"))
    let contents = Self.contents(UInt64(100 + index))
    let (text, clusterSize) = Self.options[index]
    try QEMUTools.run(
      "qemu-img", ["create", "-q", "-f", "qcow2", "-o", text, path, "\(contents.count)"])
    let world = World.simulated(seed: UInt64(index))
    let expected = try await world.run { () async throws -> [UInt8] in
      let image = try await Self.image(at: path, in: world)
      let disk = try await image.open()
      try await disk.writeCompressed(contents, at: 0)
      // Some of it is overwritten: plain, zeros, given up, compressed again.
      let unit = max(clusterSize, 65536)
      try await disk.fill(7, at: unit + 100, count: 1000)
      try await disk.writeZeroes(ByteRange(offset: 4 * clusterSize / 4, count: unit / 2))
      try await disk.discard(ByteRange(offset: unit, count: unit / 2))
      try await disk.writeCompressed(Array(contents.prefix(clusterSize)), at: 0)
      let expected = try await disk.read(at: 0, count: disk.length)
      try await image.close(disk)
      let bytes = image.disk.visibleImage.bytes(ByteRange(0, image.disk.length))
      try Data(bytes).write(to: URL(fileURLWithPath: path))
      return expected
    }
    try Data(expected).write(to: URL(fileURLWithPath: raw))
    let check = try QemuImg.check(path)
    #expect(check.status == 0 && check.result?.compressedClusters != 0)
    let comparison = try QEMUTools.run(
      "qemu-img", ["compare", "-f", "raw", "-F", "qcow2", raw, path])
    #expect(comparison.status == 0, "\(comparison.output)")
  }
}
