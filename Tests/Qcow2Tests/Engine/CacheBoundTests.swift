import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Testing

@testable import Qcow2

/// What the metadata caches hold, and what it costs when all of it is dirty.
@Suite struct CacheBoundTests {
  /// What a huge request leaves to be written by the flush after it: writes of the disk.
  private func writesOfAFlush(
    after request: @escaping @Sendable (BlockBackend, ByteRange) async throws -> Void
  ) async throws -> Int {
    let world = World.simulated(seed: 6)
    return try await world.run { () async throws -> Int in
      // An L2 table is one slice, and maps 32 KiB.
      let size = 5000 * 32768
      var options = NewImageOptions(virtualSize: size)
      options.clusterSize = 512
      let image = try await ImageFixture.create(options, in: world)
      let disk = try await image.open(backing: image.graph.addNode(MemoryDriver(length: size)))
      try await request(disk, ByteRange(0, size))
      let before = image.disk.count(of: [.write])
      try await disk.flush()
      let writes = image.disk.count(of: [.write]) - before
      let driver = try #require(disk.node.driver as? Qcow2Driver)
      #expect(try await driver.check().isClean)
      try await image.close(disk)
      return writes
    }
  }

  @Test func oneHugeZeroRequestIsWrittenBackAsItGoes() async throws {
    let writes = try await writesOfAFlush { try await $0.writeZeroes($1) }
    #expect(writes < 3 * Qcow2Limits.dirtySlices)
  }

  @Test func oneHugeDiscardIsWrittenBackAsItGoes() async throws {
    let writes = try await writesOfAFlush { try await $0.discard($1) }
    #expect(writes < 3 * Qcow2Limits.dirtySlices)
  }

  /// Who asks for the status of the rest again and again must not have all of it walked each time.
  @Test func oneStatusLooksAtABoundedPartOfTheImage() async throws {
    let world = World.simulated(seed: 6)
    try await world.run { () async throws in
      let size = 5000 * 32768
      var options = NewImageOptions(virtualSize: size)
      options.clusterSize = 512
      let image = try await ImageFixture.create(options, in: world)
      let disk = try await image.open()
      for isZeroed in [false, true] {
        if isZeroed { try await disk.writeZeroes(ByteRange(0, size), mayUnmap: true) }
        var position = 0
        while position < size {
          let status = try await disk.node.chainStatus(ByteRange(position, size))
          #expect(status.status.isZero && status.status.isAllocated == isZeroed)
          #expect(status.count <= Qcow2Limits.statusSteps * 32768)
          position += status.count
        }
      }
      try await image.close(disk)
    }
  }

  /// A walk reads a table of 64 KiB at once, a request only the slice that it needs.
  @Test func tablesAreReadInPiecesOfWhatIsAskedFor() async throws {
    let world = World.simulated(seed: 6)
    try await world.run { () async throws in
      let perTable = 8192 * 65536
      let image = try await ImageFixture.create(
        NewImageOptions(virtualSize: 8 * perTable), in: world)
      var disk = try await image.open()
      for table in 0..<8 { try await disk.fill(1, at: table * perTable, count: 512) }
      try await image.close(disk)
      for (count, loads) in [(8 * perTable, 8), (65536, 1)] {
        disk = try await image.open(readOnly: true)
        let before = image.disk.count(of: [.read])
        var rest = ByteRange(0, count)
        while !rest.isEmpty {
          rest = rest.dropFirst(try await disk.node.chainStatus(rest).count)
        }
        #expect(image.disk.count(of: [.read]) - before == loads)
        try await image.close(disk)
      }
    }
  }

  @Test func aFullCacheOfDirtySlicesIsNotSearched() {
    var cache = L2Cache(geometry: Geometry(clusterBits: 9), budgetBytes: 0)
    let slices = (0..<2 * cache.capacity).map { L2Slice(offset: $0 * 512, words: []) }
    for slice in slices {
      cache.insert(slice)
      cache.markDirty(slice)
    }
    #expect(cache.count == slices.count)
    #expect(slices.allSatisfy { $0.wasUsed }, "the hand passes where it can take something")
    cache.didWrite(cache.images())
    cache.insert(L2Slice(offset: 1 << 20, words: []))
    #expect(cache.count == cache.capacity, "clean ones go, down to the budget")
  }

  @Test func aCacheWhoseOnlyCleanSliceIsInUseIsNotSearched() {
    var cache = L2Cache(geometry: Geometry(clusterBits: 9), budgetBytes: 0)
    let slices = (0..<cache.capacity).map { L2Slice(offset: $0 * 512, words: []) }
    for slice in slices { cache.insert(slice) }
    for slice in slices.dropLast() { cache.markDirty(slice) }
    #expect(cache.slice(at: (cache.capacity - 1) * 512) === slices.last)
    cache.insert(L2Slice(offset: 1 << 20, words: []))
    #expect(slices.allSatisfy { $0.wasUsed })
    #expect(cache.slice(at: (cache.capacity - 1) * 512) === slices.last)
  }

  @Test func aFullCacheOfDirtyRefcountBlocksIsNotSearched() {
    var cache = RefcountCache(clusterSize: 512, budgetBytes: 0)
    let blocks = (0..<2 * cache.capacity).map {
      CachedRefcountBlock(tableIndex: $0, offset: $0 * 512, bytes: [])
    }
    for block in blocks {
      block.isDirty = true
      cache.insert(block)
    }
    #expect(cache.dirtyCount == blocks.count)
    #expect(blocks.allSatisfy { $0.wasUsed }, "the hand passes where it can take something")
    cache.didWrite(cache.images())
    #expect(cache.dirtyCount == 0)
    cache.insert(CachedRefcountBlock(tableIndex: 999, offset: 0, bytes: []))
    #expect(cache.block(0) == nil, "clean ones go")
  }
}
