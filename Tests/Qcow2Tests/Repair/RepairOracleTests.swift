import BlockLayer
import Execution
import Foundation
import Primitives
import QEMUTools
import Qcow2
import Testing

/// Repairs beside `qemu-img` (7.2): what we call repaired it calls sound, and reads as it read it
/// before; images that its writers left dirty.
@Suite(.enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)")) struct RepairOracleTests {
  @Test(arguments: CheckOracleTests.kinds.indices)
  func whatIsRepairedIsSoundForQEMUTooAndHoldsTheSameData(kind: Int) async throws {
    let folder = try ScratchFolder()
    let base = folder.file("base.qcow2")
    try CheckOracleTests.make(base, CheckOracleTests.kinds[kind])
    let sound = [UInt8](try Data(contentsOf: URL(fileURLWithPath: base)))
    var random = SeededGenerator(seed: UInt64(100 + kind))
    var repaired = 0
    for round in 0..<10 {
      let damage = Damage(sound, using: &random)
      let what = "kind \(kind), round \(round): \(damage.text)"
      guard let (bytes, result) = try? await Self.repair(damage.bytes) else { continue }
      let left = result.remaining
      guard left.corruptions == 0, left.checkErrors == 0, left.leaks == 0 else { continue }
      repaired += 1
      let (path, damaged) = (folder.file("repaired.qcow2"), folder.file("damaged.qcow2"))
      try Data(bytes).write(to: URL(fileURLWithPath: path))
      let theirs = try QemuImg.check(path)
      #expect(theirs.status == 0, "\(what): \(result.findings.map(\.message).prefix(9))")
      try Data(damage.bytes).write(to: URL(fileURLWithPath: damaged))
      let comparison = try QEMUTools.run(
        "qemu-img", ["compare", "-f", "qcow2", "-F", "qcow2", damaged, path])
      // 2 and above: it cannot read the damaged image.
      #expect(comparison.status != 1, "\(what): \(comparison.output)")
    }
    // Refcounts of one bit count no cluster that is referred to twice.
    let isNarrow = CheckOracleTests.kinds[kind].options.contains("refcount_bits=1")
    #expect(repaired > 0 || isNarrow, "kind \(kind): nothing could be repaired")
  }

  private static func repair(
    _ bytes: [UInt8]
  ) async throws -> (bytes: [UInt8], result: ImageRepairResult) {
    let world = World.simulated(seed: 1)
    return try await world.run { () async throws -> ([UInt8], ImageRepairResult) in
      let (graph, file) = try await image(bytes, in: world)
      var options = OpenOptions(format: "qcow2")
      options.isForCheck = true
      let node = try await graph.open(file: file, options)
      guard let driver = node.driver as? any CheckableImage else { throw BlockError(.io, "") }
      let result = try await driver.repair(.all)
      try await graph.close(node)
      return (try await file.bytes(file.length), result)
    }
  }

  private static func image(
    _ bytes: [UInt8], in world: World
  ) async throws -> (BlockGraph, BlockNode) {
    let graph = DamagedImage.makeGraph(in: world)
    let file = try graph.addNode(MemoryDriver(length: 0, growsOnWrite: true), name: "file")
    try await file.write(ByteRange(0, bytes.count), from: bytes.span.bytes)
    return (graph, file)
  }

  // MARK: - Dirty images

  @Test(arguments: [4096, 65536])
  func anImageThatADeadWriterLeftDirtyOpensWithAllThatWasFlushed(clusterSize: Int) async throws {
    let folder = try ScratchFolder()
    let path = folder.file("dirty.qcow2")
    try QEMUTools.run(
      "qemu-img",
      [
        "create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on,cluster_size=\(clusterSize)", path,
        "8M",
      ])
    try QEMUTools.run(
      "qemu-io",
      [
        "-f", "qcow2", "-c", "write -P 5 0 1M", "-c", "flush", "-c", "write -P 6 2M 1M", "-c",
        "abort", path,
      ])
    let dirty = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
    #expect(dirty[79] == 1, "the writer left no mark")
    let world = World.simulated(seed: 1)
    let bytes = try await world.run { () async throws -> [UInt8] in
      let (graph, file) = try await Self.image(dirty, in: world)
      let node = try await graph.open(file: file, OpenOptions(format: "qcow2"))
      let door = try BlockBackend(node, in: graph)
      #expect(try await door.read(at: 0, count: 1 << 20).allSatisfy { $0 == 5 })
      try await door.fill(7, at: 4 << 20, count: 1 << 20)
      await door.close()
      try await graph.close(node)
      return try await file.bytes(file.length)
    }
    #expect(bytes[79] == 0 && bytes[87] == 1, "not dirty any more; still allowed to be lazy")
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    #expect(try QemuImg.check(path).status == 0)
    let reading = try QEMUTools.run(
      "qemu-io",
      ["-f", "qcow2", "-r", "-c", "read -P 5 0 1M", "-c", "read -P 7 4M 1M", path])
    #expect(reading.status == 0 && !reading.output.contains("failed"), "\(reading.output)")
  }
}
