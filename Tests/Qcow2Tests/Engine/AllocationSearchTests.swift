import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Testing

@testable import Qcow2

/// The search for free clusters where more refcount blocks are full than the cache holds.
@Suite struct AllocationSearchTests {
  /// Metadata of an image with 512-byte clusters and as many full refcount blocks, of 64 entries
  /// each, behind which one has `free` free clusters; the cache holds eight.
  private func tables(fullBlocks: Int) async throws -> Tables {
    let world = World.simulated(seed: 1)
    let bytes = try await world.run { () async throws -> [UInt8] in
      var options = NewImageOptions(virtualSize: 1 << 20)
      options.clusterSize = 512
      options.refcountBits = 64
      return try await ImageFixture.create(options, in: world).bytes(at: 0, count: 512)
    }
    let header = try HeaderCluster.parse(bytes.span.bytes, for: .readWrite)
    let table = (0...fullBlocks).map { UInt64(1 << 30 + $0 * 512) }
    var tables = Tables(header: header, l1: [], refcountTable: table, fileLength: 2 << 30)
    tables.refcounts = RefcountCache(clusterSize: 512, budgetBytes: 8 * 512)
    return tables
  }

  @Test(arguments: [1, 3])
  func itEndsHoweverManyBlocksAreFull(minimum: Int) async throws {
    let full = 100
    var tables = try await tables(fullBlocks: full)
    var position = 0
    var loads = 0
    while loads < 10 * full {
      switch try tables.allocate(minimum, minimum: minimum, from: &position) {
      case .done(let run):
        #expect(run.first == full * 64 && run.count == minimum)
        #expect(loads == full + 1, "each block is loaded once")
        return
      case .missing(let index):
        loads += 1
        tables.refcounts.insert(
          CachedRefcountBlock(
            tableIndex: index, offset: 1 << 30 + index * 512,
            bytes: [UInt8](repeating: index < full ? 1 : 0, count: 512)))
      }
    }
    Issue.record("\(loads) blocks were loaded, and the search goes on")
  }

  @Test func aSearchThatIsBegunAgainGoesOn() async throws {
    var tables = try await tables(fullBlocks: 100)
    var loads = 0
    while loads < 1000 {
      switch try tables.allocate(1) {
      case .done(let run):
        #expect(run.first == 6400 && loads == 101)
        return
      case .missing(let index):
        loads += 1
        tables.refcounts.insert(
          CachedRefcountBlock(
            tableIndex: index, offset: 1 << 30 + index * 512,
            bytes: [UInt8](repeating: index < 100 ? 1 : 0, count: 512)))
      }
    }
    Issue.record("the search does not end")
  }
}
