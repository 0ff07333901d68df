import BlockLayer
import Execution
import Primitives
import Testing

@Suite struct RawDriverTests {
  private func message(size: Int?, offset: Int) async throws -> String? {
    try await simulated { world -> String? in
      let graph = BlockGraph(world: world, registry: .base)
      let file = try graph.addNode(MemoryDriver(length: 1 << 20))
      do throws(BlockError) {
        _ = try RawDriver(file: file, offset: offset, size: size)
        return nil
      } catch {
        return error.message
      }
    }
  }

  @Test func aWindowOutsideOfTheFileIsRefusedInQEMUsWords() async throws {
    #expect(
      try await message(size: nil, offset: 2_000_000)
        == "Offset (2000000) cannot be greater than size of the containing file (1048576)")
    #expect(
      try await message(size: 1 << 20, offset: 512)
        == "The sum of offset (512) and size (1048576) has to be smaller or equal to the "
        + " actual size of the containing file (1048576)")
    #expect(try await message(size: 1000, offset: 0) == "Specified size is not multiple of 512")
    #expect(try await message(size: nil, offset: 1 << 20) == nil)
    #expect(try await message(size: 0, offset: .max) != nil)
  }

  @Test func aWindowReadsWritesAndReportsItsPartOfTheFile() async throws {
    try await simulated { world in
      let graph = BlockGraph(world: world, registry: .base)
      let file = try graph.addNode(MemoryDriver(length: 1 << 20))
      let raw = try graph.addNode(RawDriver(file: file, offset: 65_536, size: 131_072), name: "w")
      try await raw.write(pattern(1000), at: 0)
      #expect(try await file.bytes(65_536, 1000) == pattern(1000))
      let data = try await raw.chainStatus(ByteRange(0, 131_072))
      #expect(data.count == 65_536 && data.status.isData && data.status.offset == 65_536)
      let hole = try await raw.chainStatus(ByteRange(65_536, 131_072))
      #expect(hole.status.isZero && !hole.status.isData && hole.status.offset == 131_072)
      let error = await failure { try await raw.resize(to: 0, mayShrink: true) }
      #expect(error?.code == .unsupported)
    }
  }

  @Test func withoutASizeItIsAsLongAsTheFile() async throws {
    try await simulated { world in
      let graph = BlockGraph(world: world, registry: .base)
      let file = try graph.addNode(MemoryDriver(length: 1000))
      let raw = try graph.addNode(RawDriver(file: file, offset: 100))
      #expect(raw.length == 900)
      try await raw.resize(to: 2000)
      #expect(file.length == 2100 && raw.length == 2000)
    }
  }
}
