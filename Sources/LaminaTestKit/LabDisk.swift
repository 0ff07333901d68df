public import BlockTestKit
public import Lamina
internal import Synchronization

/// A qcow2 disk of a lab, its guest, and the backups of it.
public final class LabDisk: Sendable {
  /// The device's name, which is that of its jobs too.
  public let name: String
  /// The image's node.
  public let node: BlockNode
  /// The guest's door.
  ///
  /// Write through `write(_:)` and `perform(_:)`, which keep the history.
  public let guest: BlockBackend
  /// What the guest has written.
  public let history: DiskHistory
  let lab: LabContext
  /// Held while a request of the guest is under way.
  private let turn = AsyncMutex()
  private let anchors = Mutex<String?>(nil)
  private let workloads = Atomic<Int>(0)

  init(
    _ name: String, _ node: BlockNode, holding contents: SparseImage, in lab: LabContext
  ) throws(BlockError) {
    self.name = name
    self.node = node
    self.lab = lab
    guest = try BlockBackend(node, in: lab.graph, name: name)
    history = DiskHistory(contents, lab.clock)
  }

  /// The name of the last full backup, on which series of increments stand.
  public var anchor: String? { anchors.withLock { $0 } }

  func setAnchor(_ name: String) { anchors.withLock { $0 = name } }

  /// Whether a `GuestWorkload` is using the disk.
  public var isAtWork: Bool { workloads.load(ordering: .relaxed) > 0 }

  func beginWork() { workloads.add(1, ordering: .relaxed) }

  func endWork() { workloads.subtract(1, ordering: .relaxed) }

  /// Runs `body` while no request of the guest is under way.
  func whileQuiet<T>(_ body: () async throws -> T) async throws -> T {
    try await turn.withLock { () async throws -> T in try await body() }
  }

  // MARK: - The guest

  /// The guest writes `fills`, one after the other, and flushes.
  public func write(_ fills: [Fill]) async throws {
    for fill in fills {
      var rest = ByteRange(offset: fill.offset, count: fill.count)
      while !rest.isEmpty {
        // The pieces of `BlockBackend.fill`: each is a request, and a moment of its own.
        let piece = rest.prefix(1 << 20)
        let bytes = [UInt8](repeating: fill.byte, count: piece.count)
        try await request(piece, { $0.write(bytes, at: piece.lower) }) { () throws(BlockError) in
          try await self.guest.write(bytes, at: piece.lower)
        }
        rest = rest.dropFirst(piece.count)
      }
    }
    try await perform(.flush)
  }

  /// The guest does what `operation` says, and waits for the end of it.
  ///
  /// A read that does not find what the guest has written is an error, and so is a discard, or a
  /// request that failed, that leaves something else than old bytes or new ones.
  public func perform(_ operation: GuestOperation) async throws {
    let range = operation.range
    switch operation {
    case .write(_, let number):
      let bytes = WritePattern.bytes(range, write: number)
      try await request(range, { $0.write(bytes, at: range.lower) }) { () throws(BlockError) in
        try await self.guest.write(bytes, at: range.lower)
      }
    case .writeZeroes(_, let mayUnmap):
      try await request(range, { $0.zero(range) }) { () throws(BlockError) in
        try await self.guest.writeZeroes(range, mayUnmap: mayUnmap)
      }
    case .discard: try await discard(range)
    case .read: try await turn.withLock { () async throws in try await verify(range) }
    case .flush: try await turn.withLock { () async throws in try await guest.flush() }
    }
  }

  private func request(
    _ range: ByteRange, _ change: (inout SparseImage) -> Void,
    _ body: () async throws(BlockError) -> Void
  ) async throws {
    try await turn.withLock { () async throws in
      history.begin()
      let before = history.image
      var after = before
      change(&after)
      do {
        try await body()
      } catch {
        let left = try await look(range, before, after)
        history.end(left, dirtied: range, isFailed: true)
        throw error
      }
      history.end(after, dirtied: range)
    }
  }

  private func discard(_ range: ByteRange) async throws {
    try await turn.withLock { () async throws in
      history.begin()
      let before = history.image
      var after = before
      after.zero(range)
      let dirtied = node.options.discard == .unmap ? range : nil
      do {
        try await guest.discard(range)
      } catch {
        let left = try await look(range, before, after)
        history.end(left, dirtied: dirtied, isFailed: true)
        throw error
      }
      history.end(try await look(range, before, after), dirtied: dirtied)
    }
  }

  /// What the disk is after a request that leaves old bytes or new ones, as the guest finds it.
  private func look(
    _ range: ByteRange, _ before: SparseImage, _ after: SparseImage
  ) async throws -> SparseImage {
    var found: [UInt8]?
    for _ in 0..<3 where found == nil {
      found = try? await guest.read(at: range.lower, count: range.count)
    }
    let (old, new) = (before.bytes(range), after.bytes(range))
    guard let found, found != new else { return found == nil ? before : after }
    if found == old { return before }
    for index in found.indices where found[index] != old[index] && found[index] != new[index] {
      throw LabError("\(name): a request left strange bytes at \(range.lower + index)")
    }
    var image = before
    image.write(found, at: range.lower)
    return image
  }

  private func verify(_ range: ByteRange) async throws {
    let found = try await guest.read(at: range.lower, count: range.count)
    let expected = history.image.bytes(range)
    if found == expected { return }
    guard let index = found.indices.first(where: { found[$0] != expected[$0] }) else { return }
    throw LabError(
      "\(name): the guest reads \(found[index]) at \(range.lower + index), where it wrote "
        + "\(expected[index])")
  }
}
