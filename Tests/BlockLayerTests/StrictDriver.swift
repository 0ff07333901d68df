import BlockLayer
import Execution
import Primitives
import Synchronization
import Testing

/// A memory disk that takes nothing but what its limits promise it, lets others run in the middle
/// of each request, and fails when it is told to.
final class StrictDriver: BlockDriver, ResizableImage {
  let limits: BlockLimits
  let world: World
  let memory: MemoryDriver
  /// Whether zeroes and discards are supported.
  let zeroes: Bool
  let log = Notes()
  let failure = Mutex<BlockError?>(nil)

  var driverName: String { "strict" }
  var length: Int { memory.length }

  init(_ world: World, length: Int, limits: BlockLimits = BlockLimits(), zeroes: Bool = true) {
    self.world = world
    self.limits = limits
    self.zeroes = zeroes
    memory = MemoryDriver(length: length, growsOnWrite: limits.growsOnWrite)
  }

  var notes: [String] { log.all }
  func fail(_ error: BlockError?) { failure.withLock { $0 = error } }

  private func check(_ what: String, _ range: ByteRange, longest: Int, _ alignment: Int)
    async
    throws(BlockError)
  {
    log.note("\(what) \(range.lower)+\(range.count)")
    #expect(!range.isEmpty && range.count <= longest, "\(what) \(range)")
    #expect(range.lower.isAligned(to: alignment), "\(what) \(range)")
    #expect(range.upper.isAligned(to: alignment) || range.upper >= length, "\(what) \(range)")
    if !limits.growsOnWrite { #expect(range.upper <= length, "\(what) \(range)") }
    await world.yield()
    if let failure = failure.withLock({ $0 }) { throw failure }
  }

  func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError) {
    try await check("read", range, longest: limits.maxTransfer, limits.requestAlignment)
    try await memory.read(range, into: &buffer)
  }

  func write(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    try await check("write", range, longest: limits.maxTransfer, limits.requestAlignment)
    try await memory.write(range, from: bytes)
    await world.yield()
  }

  func writeZeroes(_ range: ByteRange, mayUnmap: Bool) async throws(BlockError) {
    guard zeroes else { throw BlockError(.unsupported, "no zeroes") }
    try await check(
      mayUnmap ? "unmap" : "zero", range, longest: limits.maxWriteZeroes, limits.requestAlignment)
    try await memory.writeZeroes(range, mayUnmap: mayUnmap)
    await world.yield()
  }

  func discard(_ range: ByteRange) async throws(BlockError) {
    guard zeroes else { throw BlockError(.unsupported, "no discard") }
    try await check("discard", range, longest: limits.maxDiscard, limits.discardAlignment)
    try await memory.discard(range)
  }

  func sync() async throws(BlockError) {
    log.note("sync")
    await world.yield()
    if let failure = failure.withLock({ $0 }) { throw failure }
  }

  func status(_ range: ByteRange) async throws(BlockError) -> BlockStatus {
    try await memory.status(range)
  }

  func resize(to length: Int) async throws(BlockError) {
    if let failure = failure.withLock({ $0 }) { throw failure }
    try await memory.resize(to: length)
  }

  func close() async throws(BlockError) { log.note("close") }
}
