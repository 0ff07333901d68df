import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Synchronization

/// A simulated disk of a fixed length that may have a cluster size and a backing node, and that
/// takes down what was written to it.
final class TestDisk: BlockDriver {
  let disk: SimulatedDisk
  let limits: BlockLimits
  private let backing: BlockEdge?
  /// Whether its status says where zeros are; otherwise all is data.
  private let tellsZeros: Bool
  private let state: Mutex<State>

  private struct State {
    /// The clusters that this layer has; without a backing node all count as allocated.
    var allocated: Set<Int> = []
    var written: [ByteRange] = []
    var zeroed: [ByteRange] = []
    var flushFails = false
  }

  init(
    _ disk: SimulatedDisk, clusterSize: Int = 0, backing: BlockNode? = nil,
    allocated: Set<Int> = [], tellsZeros: Bool = true
  ) {
    self.tellsZeros = tellsZeros
    self.disk = disk
    limits = BlockLimits(clusterSize: clusterSize)
    self.backing = backing.flatMap { try? BlockEdge(.backing, to: $0) }
    state = Mutex(State(allocated: allocated))
  }

  var driverName: String { "test" }
  var length: Int { disk.length }
  var children: [BlockEdge] { backing.map { [$0] } ?? [] }
  /// What was written and zeroed, in the order in which the requests ended.
  var written: [ByteRange] { state.withLock { $0.written } }
  var zeroed: [ByteRange] { state.withLock { $0.zeroed } }
  /// The clusters of 64 KiB of which something was written, ascending.
  var writtenClusters: [Int] {
    Set((written + zeroed).flatMap { TestDisk.clusters($0) }).sorted()
  }

  /// Makes flushes fail from now on, whatever the disk says.
  func failFlushes() { state.withLock { $0.flushFails = true } }

  static func clusters(_ range: ByteRange) -> Range<Int> {
    range.lower / 65536..<range.upper.dividedRoundingUp(by: 65536)
  }

  func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError) {
    var done = 0
    while done < range.count {
      let rest = range.dropFirst(done)
      let piece = rest.prefix(65536 - rest.lower % 65536)
      var part = buffer.slice(ByteRange(offset: done, count: piece.count))
      if let backing, !has(piece.lower) {
        try await backing.node.read(piece, into: &part)
      } else {
        try await disk.read(piece, into: &part)
      }
      done += piece.count
    }
  }

  func write(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    try await disk.write(range, from: bytes)
    state.withLock { state in
      state.written.append(range)
      state.allocated.formUnion(TestDisk.clusters(range))
    }
  }

  func writeZeroes(_ range: ByteRange, mayUnmap: Bool) async throws(BlockError) {
    try await disk.writeZeroes(range, mayUnmap: mayUnmap)
    state.withLock { state in
      state.zeroed.append(range)
      state.allocated.formUnion(TestDisk.clusters(range))
    }
  }

  func discard(_ range: ByteRange) async throws(BlockError) { try await disk.discard(range) }

  func writeBack() async throws(BlockError) {
    if state.withLock({ $0.flushFails }) { throw BlockError(.io, "the test says so") }
  }

  func sync() async throws(BlockError) { try await disk.sync() }

  func status(_ range: ByteRange) async throws(BlockError) -> BlockStatus {
    guard tellsZeros else {
      return BlockStatus(count: range.count, isAllocated: true, isData: true, offset: range.lower)
    }
    guard backing != nil else { return try await disk.status(range) }
    await disk.world.yield()  // as a driver that has to load a table
    let piece = range.prefix(65536 - range.lower % 65536)
    guard has(piece.lower) else { return BlockStatus(count: piece.count) }
    return try await disk.status(piece)
  }

  private func has(_ offset: Int) -> Bool {
    backing == nil || state.withLock { $0.allocated.contains(offset / 65536) }
  }
}
