import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Qcow2

/// Eight writers at once, each with one sector of its own in each 4 KiB of a disk, in random order.
enum ConcurrentWriters {
  /// The size of the disk in bytes.
  static let diskSize = places * placeSize
  private static let places = 64
  private static let placeSize = 4096

  /// Lets them write to a new image; gives the offset of the first sector that is not what its
  /// writer wrote.
  static func firstLostSector(_ options: NewImageOptions, seed: Int) async throws -> Int? {
    let world = World.simulated(seed: UInt64(seed))
    return try await world.run { () async throws -> Int? in
      let disk = SimulatedDisk(in: world)  // every operation is a scheduling point
      let graph = BlockGraph(world: world, registry: ImageFixture.registry)
      let file = try graph.addNode(disk, name: "file")
      try await Qcow2Driver.create(options, in: file)
      let node = try await graph.open(file: file, OpenOptions(format: "qcow2", discard: .unmap))
      let door = try BlockBackend(node, in: graph)
      await withTaskGroup(of: Void.self) { group in
        for writer in 0..<8 {
          group.addTask {
            var random = SeededGenerator(seed: UInt64(seed * 100 + writer))
            for place in (0..<places).shuffled(using: &random) {
              let range = ByteRange(offset: place * placeSize + writer * 512, count: 512)
              try? await door.write(
                WritePattern.bytes(range, write: writer + 1), at: range.lower)
              if place % 16 == writer { try? await door.flush() }
            }
          }
        }
      }
      let bytes = try await door.read(at: 0, count: door.length)
      for sector in 0..<bytes.count / 512 {
        let range = ByteRange(offset: sector * 512, count: 512)
        let expected = WritePattern.bytes(range, write: sector % 8 + 1)
        if Array(bytes[range.lower..<range.upper]) != expected { return range.lower }
      }
      await door.close()
      try await graph.close(node)
      return nil
    }
  }
}
