import BlockLayer
import Execution
import Primitives
import Qcow2
import Testing

/// How a check is asked for, and what it leaves alone.
@Suite struct CheckOpeningTests {
  private func inWorld<T: Sendable>(
    _ body: @escaping @Sendable (DamagedImage) async throws -> T
  ) async throws -> T {
    let world = World.simulated(seed: 2)
    return try await world.run { try await body(try await DamagedImage.make(in: world)) }
  }

  @Test func imagesThatCannotBeOpenedOtherwiseCanBeChecked() async throws {
    // Dirty, corrupt, two tables on one cluster; a backing file that is not there.
    let result = try await inWorld { image in
      try await image.write([3], at: 72)
      try await image.write([UInt64(image.refcountTable)], at: 40)
      try await image.write([4000], at: 8)
      try await image.write(UInt32(4), at: 16)
      return try await image.check()
    }
    #expect(result.corruptions > 0)
    let refusal = try await inWorld { image in
      try await image.write([2], at: 72)
      return await #expect(throws: BlockError.self) {
        _ = try await image.graph.open(file: image.file, OpenOptions(format: "qcow2"))
      }
    }
    #expect(refusal != nil)
  }

  @Test func anImageOpenForACheckServesNoGuest() async throws {
    try await inWorld { image in
      var options = OpenOptions(format: "qcow2")
      options.isForCheck = true
      let node = try await image.graph.open(file: image.file, options)
      let door = try BlockBackend(node, in: image.graph)
      await #expect(throws: BlockError(.unsupported, "")) {
        _ = try await door.read(at: 0, count: 1)
      }
      await #expect(throws: BlockError.self) { try await door.write([1], at: 0) }
      await #expect(throws: BlockError(.unsupported, "")) {
        _ = try await node.chainStatus(ByteRange(0, 1))
      }
      await door.close()
      try await image.graph.close(node)
    }
  }

  @Test func aCheckWritesNothing() async throws {
    let (before, after) = try await inWorld { image in
      try await image.setRefcount(5, of: 4)
      try await image.write([3], at: 72)
      let count = image.file.length
      let before = try await image.file.bytes(count)
      _ = try await image.check()
      return (before, try await image.file.bytes(count))
    }
    #expect(before == after)
  }

  @Test func aWritableImageIsWrittenBackBeforeItIsChecked() async throws {
    let result = try await inWorld { image in
      let node = try await image.graph.open(
        file: image.file, OpenOptions(format: "qcow2", discard: .unmap))
      let door = try BlockBackend(node, in: image.graph)
      try await door.fill(3, at: 500_000, count: 100_000)
      try await door.discard(ByteRange(0, 8192))
      guard let driver = node.driver as? any CheckableImage else { throw BlockError(.io, "") }
      let first = try await driver.check()
      // It goes on being written.
      try await door.fill(4, at: 700_000, count: 10_000)
      let second = try await driver.check()
      await door.close()
      try await image.graph.close(node)
      return (first, second)
    }
    #expect(result.0.isClean, "\(result.0.messages)")
    #expect(result.1.isClean, "\(result.1.messages)")
    #expect(result.1.allocatedClusters > result.0.allocatedClusters)
  }
}

extension BlockNode {
  func bytes(_ count: Int) async throws(BlockError) -> [UInt8] {
    var buffer = IOBuffer(byteCount: count)
    var span = buffer.mutableBytes
    try await read(ByteRange(0, count), into: &span)
    return span.bytes.toArray()
  }
}
