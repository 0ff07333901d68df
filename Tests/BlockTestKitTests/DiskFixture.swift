import BlockLayer
import BlockTestKit
import Execution
import Primitives

/// Runs `body` with a disk in a simulated World.
func withDisk<Success: Sendable>(
  _ image: SparseImage = SparseImage(), faults: FaultPlan = .none, seed: UInt64 = 1,
  _ body: sending @escaping (SimulatedDisk) async throws -> Success
) throws -> Success {
  let world = World.simulated(seed: seed)
  let disk = SimulatedDisk(image, in: world, faults: faults)
  return try world.runBlocking { try await body(disk) }
}

extension SimulatedDisk {
  /// Writes `sectors` sectors full of `value`.
  func fill(_ value: UInt8, sector: Int, sectors: Int = 1) async throws {
    let range = ByteRange(offset: sector * Sector.size, count: sectors * Sector.size)
    let bytes = [UInt8](repeating: value, count: range.count)
    try await write(range, from: bytes.span.bytes)
  }

  /// The bytes of `range`, read by the driver's own means.
  func bytes(_ range: ByteRange) async throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0xee, count: range.count)
    var span = bytes.mutableSpan
    var raw = span.mutableBytes
    try await read(range, into: &raw)
    return bytes
  }
}

extension SparseImage {
  /// An image of sectors, each full of one value.
  init(sectors: [UInt8]) {
    self.init(sectors.flatMap { [UInt8](repeating: $0, count: Sector.size) })
  }

  /// The value of every sector that is full of one; 0xff for a mixture.
  var sectorValues: [UInt8] {
    stride(from: 0, to: length, by: Sector.size).map { offset in
      let sector = bytes(ByteRange(offset, min(offset + Sector.size, length)))
      let value = sector.first ?? 0
      return sector.allSatisfy { $0 == value } ? value : 0xff
    }
  }
}
