import BlockLayer
import Execution
import Primitives
import Qcow2

/// What a repair of a damaged image did, and what the image then is.
struct RepairedImage: Sendable {
  let result: ImageRepairResult
  /// Whether the guest sees what it saw before, where that could be read.
  let keepsData: Bool
  /// Whether the guest can read all of it.
  let isReadable: Bool
  /// A second repair's result.
  let again: ImageRepairResult
  /// The incompatible features in the end.
  let features: UInt64

  var messages: [String] { result.findings.map(\.message) }
  /// Whether nothing is wrong any more, and a second repair finds nothing to do.
  var isSound: Bool {
    result.remaining.isClean && again.leaksFixed == 0 && again.corruptionsFixed == 0
  }
}

/// Damages an image, repairs it, and repairs it again.
func repair(
  _ mode: ImageRepair = .all, version: FormatVersion = .v3, refcountBits: Int = 16,
  after damage: @escaping @Sendable (DamagedImage) async throws -> Void
) async throws -> RepairedImage {
  let world = World.simulated(seed: 1)
  return try await world.run { () async throws -> RepairedImage in
    let image = try await DamagedImage.make(
      in: world, version: version, refcountBits: refcountBits)
    try await damage(image)
    let before = try? await image.guestBytes()
    let result = try await image.repair(mode)
    let after = try? await image.guestBytes()
    return RepairedImage(
      result: result, keepsData: before == nil || before == after, isReadable: after != nil,
      again: try await image.repair(mode),
      features: version == .v3 ? try await image.word(at: 72) : 0)
  }
}

extension DamagedImage {
  /// Opens for a repair, repairs, closes.
  func repair(_ mode: ImageRepair) async throws -> ImageRepairResult {
    var options = OpenOptions(format: "qcow2")
    options.isForCheck = true
    let node = try await graph.open(file: file, options)
    guard let driver = node.driver as? any CheckableImage else { throw BlockError(.io, "no qcow2") }
    do {
      let result = try await driver.repair(mode)
      try await graph.close(node)
      return result
    } catch {
      try? await graph.close(node)
      throw error
    }
  }

  /// Everything that the guest sees.
  func guestBytes() async throws -> [UInt8] {
    let node = try await graph.open(
      file: file, OpenOptions(format: "qcow2", readOnly: true, backing: .ignore))
    let door = try BlockBackend(node, in: graph)
    let bytes: [UInt8]
    do {
      bytes = try await door.read(at: 0, count: door.length)
    } catch {
      await door.close()
      try await graph.close(node)
      throw error
    }
    await door.close()
    try await graph.close(node)
    return bytes
  }
}
