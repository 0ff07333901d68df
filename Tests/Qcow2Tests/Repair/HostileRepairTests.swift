import BlockLayer
import Execution
import Primitives
import Qcow2
import Testing

/// Repairs of images with several random damages at once.
@Suite struct HostileRepairTests {
  /// Puts a few random words into tables and header fields.
  private func damage(
    _ image: DamagedImage, using random: inout SeededGenerator
  ) async throws -> String {
    var text = ""
    for _ in 0..<Int.random(in: 1...4, using: &random) {
      let tables = [image.l1, image.l2, image.refcountTable, image.refcountBlock, 24 * 4096]
      let start = tables.randomElement(using: &random) ?? image.l2
      let offset = start + Int.random(in: 0..<24, using: &random) * 8
      let host = UInt64(Int.random(in: 0...30, using: &random) * 4096)
      let flags: [UInt64] = [0, 1 << 63, 1 << 63, 1 << 62, 1, 1 << 62 | 77, 512, 1 << 55]
      let word = host | (flags.randomElement(using: &random) ?? 0)
      try await image.write([word], at: offset)
      text += " \(String(offset, radix: 16))=\(String(word, radix: 16))"
    }
    return text
  }

  @Test(arguments: 0..<8)
  func aRepairEndsAndASecondOneFindsNothingToDo(seed: Int) async throws {
    for round in 0..<20 {
      var random = SeededGenerator(seed: UInt64(seed * 1000 + round))
      let world = World.simulated(seed: 1)
      let image = try await world.run { try await DamagedImage.make(in: world) }
      let hasSnapshot = Bool.random(using: &random)
      if hasSnapshot { try await world.run { _ = try await image.addSnapshot() } }
      let generator = random
      let problem = try await world.run { () async throws -> String? in
        var random = generator
        let text = try await damage(image, using: &random)
        guard let first = try? await image.repair(.all) else { return nil }
        let second = try await image.repair(.all)
        let left = (first.remaining.corruptions, second.remaining.corruptions)
        guard second.leaksFixed == 0, second.corruptionsFixed == 0, left.0 == left.1 else {
          return "\(text): first \(first.findings.map(\.message).suffix(4)) "
            + "second \(second.findings.map(\.message).prefix(4))"
        }
        // What could be repaired whole can be written.
        guard first.remaining.corruptions + first.remaining.checkErrors == 0, !hasSnapshot else {
          return nil
        }
        let node = try await image.graph.open(
          file: image.file, OpenOptions(format: "qcow2", backing: .ignore))
        let door = try BlockBackend(node, in: image.graph)
        try await door.fill(7, at: 0, count: 500_000)
        await door.close()
        try await image.graph.close(node)
        let after = try await image.check()
        return after.corruptions == 0 ? nil : "\(text): after writing \(after.messages.prefix(4))"
      }
      #expect(problem == nil, "seed \(seed), round \(round)")
    }
  }
}
