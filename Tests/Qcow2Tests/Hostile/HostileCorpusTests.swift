import BlockTestKit
import Foundation
import Qcow2
import Testing

/// Whole classes of damage, from one end to the other: a sample in every run, all of it with
/// `LAMINA_SIMULATE=1`.
@Suite struct HostileCorpusTests {
  /// Every how many-th case is tried.
  private static func step(_ usual: Int) -> Int {
    SimulationSeeds.isLong(ProcessInfo.processInfo.environment) ? 1 : usual
  }

  // MARK: - Fields

  /// Every field of the header, with its width in bytes.
  private static let fields: [(offset: Int, width: Int)] = [
    (4, 4), (8, 8), (16, 4), (20, 4), (24, 8), (32, 4), (36, 4), (40, 8), (48, 8), (56, 4), (60, 4),
    (64, 8), (72, 8), (80, 8), (88, 8), (96, 4), (100, 4), (104, 1),
  ]

  /// The edges of every limit that a field has, and of the widths.
  private static let extremes: [UInt64] = [
    0, 1, 2, 7, 8, 9, 21, 22, 63, 64, 65, 72, 104, 112, 511, 512, 513, 1023, 1024, 65535, 65536,
    65537, 1 << 20, 1 << 20 | 1, 1 << 22, 1 << 22 | 1, 1 << 31 - 1, 1 << 31, 1 << 32 - 1, 1 << 32,
    1 << 55, 1 << 56 - 512, 1 << 56, 1 << 62, 1 << 63 - 512, 1 << 63 - 1, 1 << 63, .max - 511, .max,
  ]

  @Test(arguments: [FormatVersion.v2, .v3])
  func anyFieldOfTheHeaderMayHoldAnExtremeNumber(version: FormatVersion) async throws {
    let image = try await HostileImage.make(version: version)
    let cases = Self.fields.flatMap { field in Self.extremes.map { (field, $0) } }
    for index in stride(from: version == .v2 ? 1 : 0, to: cases.count, by: Self.step(2)) {
      let (field, number) = cases[index]
      let bytes = image.with { image in
        let all = DamagedImage.bytes(number)
        image.bytes.replace(at: field.offset, with: Array(all.suffix(field.width)))
      }
      try await Ordeal.endure(bytes, "\(version), \(number) at \(field.offset)")
    }
  }

  // MARK: - Truncation

  @Test func anImageMayBeCutOffAnywhere() async throws {
    let image = try await HostileImage.make()
    let end = image.bytes.count
    var lengths = Set(stride(from: 0, to: min(4096, end), by: Self.step(11)))
    for border in stride(from: 0, through: end, by: HostileImage.clusterSize) {
      lengths.formUnion([border - 1, border, border + 1].filter { (0...end).contains($0) })
    }
    for length in lengths.sorted() {
      try await Ordeal.endure(Array(image.bytes.prefix(length)), "\(length) of \(end) bytes")
    }
  }

  // MARK: - Bits

  @Test(arguments: ["header", "L1", "L2", "refcount table", "refcount block"])
  func anyBitOfAStructureMayBeFlipped(structure: String) async throws {
    let image = try await HostileImage.make()
    let size = HostileImage.clusterSize
    // Offset, bytes that matter, and the share of them in every run.
    let place: (offset: Int, count: Int, step: Int) =
      switch structure {
      case "header": (0, 112, 2)
      case "L1": (image.l1, 8, 1)
      case "L2": (image.l2, size, 13)
      case "refcount table": (image.refcountTable, 16, 1)
      default: (image.refcountBlock, size, 13)
      }
    for bit in stride(from: 0, to: place.count * 8, by: Self.step(place.step)) {
      let bytes = image.with { $0.bytes[place.offset + bit / 8] ^= 1 << UInt8(7 - bit % 8) }
      try await Ordeal.endure(bytes, "bit \(bit) of the \(structure)")
    }
  }

  @Test func anImageOfAnyWidthOfRefcountsSuffersTheSame() async throws {
    for bits in [1, 2, 4, 8, 32, 64] {
      let image = try await HostileImage.make(refcountBits: bits)
      try await Ordeal.endure(image.bytes, "\(bits) bits")
      for bit in stride(from: bits, to: 512 * 8, by: Self.step(977)) {
        let bytes = image.with { $0.bytes[$0.refcountBlock + bit / 8] ^= 1 << UInt8(7 - bit % 8) }
        try await Ordeal.endure(bytes, "bit \(bit) of refcounts of \(bits) bits")
      }
    }
  }
}
