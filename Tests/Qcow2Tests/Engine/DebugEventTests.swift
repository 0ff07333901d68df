import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Qcow2
import Synchronization
import Testing

/// A filter below an image that notes which events happen there, each once.
private final class EventRecorder: DebugEventSink {
  let children: [BlockEdge]
  private let file: BlockEdge
  private let seen = Mutex<Set<DebugEvent>>([])

  var driverName: String { "recorder" }
  var isFilter: Bool { true }
  var length: Int { file.node.length }
  var limits: BlockLimits { BlockLimits(growsOnWrite: true) }

  init(_ node: BlockNode) throws(BlockError) {
    file = try BlockEdge(.file, to: node)
    children = [file]
  }

  func raise(_ event: DebugEvent) async { seen.withLock { _ = $0.insert(event) } }
  func checkStatus(_ range: ByteRange) async throws(BlockError) {}

  /// The events since the last time.
  func take() -> Set<DebugEvent> {
    seen.withLock { seen in
      defer { seen = [] }
      return seen
    }
  }

  func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError) {
    try await file.node.read(range, into: &buffer)
  }
  func write(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    try await file.node.write(range, from: bytes)
  }
  func writeZeroes(_ range: ByteRange, mayUnmap: Bool) async throws(BlockError) {
    try await file.node.writeZeroes(range, mayUnmap: mayUnmap)
  }
  func discard(_ range: ByteRange) async throws(BlockError) {
    try await file.node.discard(range)
  }
  func status(_ range: ByteRange) async throws(BlockError) -> BlockStatus {
    try await file.node.driver.status(range)
  }
}

/// Which events the engine raises at its file, beside those that qemu-io's breakpoints meet there.
@Suite struct DebugEventTests {
  /// Opens an image over a recorder, and has `body` use it.
  private func onImage(
    size: Int = 1 << 20, cluster: Int = 65536, over backing: [UInt8]? = nil,
    _ body: sending @escaping (BlockBackend, EventRecorder) async throws -> Void
  ) async throws {
    let world = World.simulated(seed: 3)
    try await world.run {
      var options = NewImageOptions(virtualSize: size)
      options.clusterSize = cluster
      if backing != nil { options.version = .v3 }
      let image = try await ImageFixture.create(options, in: world)
      let recorder = try EventRecorder(image.file)
      let filter = try image.graph.addNode(recorder)
      var below: BlockNode?
      if let backing {
        let node = try image.graph.addNode(MemoryDriver(length: backing.count))
        try await node.write(ByteRange(0, backing.count), from: backing.span.bytes)
        below = node
      }
      let open = OpenOptions(
        format: "qcow2", backing: below.map { .node($0) } ?? .ignore, discard: .unmap)
      let node = try await image.graph.open(file: filter, open)
      try await body(BlockBackend(node, in: image.graph), recorder)
    }
  }

  @Test func aWriteIntoANewClusterAllocatesLinksAndCounts() async throws {
    try await onImage { disk, recorder in
      #expect(recorder.take() == [.reftableLoad])
      let bytes = [UInt8](repeating: 1, count: 65536)
      try await disk.write(
        ByteRange(0, 65536), from: bytes.span.bytes, forceUnitAccess: true)
      let events = recorder.take().subtracting([.pwritev, .pwritevZero, .pwritevDone])
      #expect(
        events == [
          .l1Update, .l2Update, .l2AllocWrite, .writeAio, .refblockLoad, .refblockUpdatePart,
          .refblockAlloc, .clusterAlloc, .flushToOS,
        ])
      _ = try await disk.read(at: 0, count: 65536)
      #expect(recorder.take() == [.readAio])
    }
  }

  @Test func aPartOfAClusterIsCopiedFromBelow() async throws {
    let below = [UInt8](repeating: 9, count: 1 << 20)
    try await onImage(over: below) { disk, recorder in
      _ = recorder.take()
      try await disk.fill(1, at: 4096, count: 4096)
      let expected: Set<DebugEvent> = [.cowRead, .cowWrite, .readBackingAio, .writeAio]
      #expect(recorder.take().isSuperset(of: expected))
      _ = try await disk.read(at: 1 << 19, count: 512)
      #expect(recorder.take() == [.readBackingAio])
    }
  }

  @Test func aTableThatMovesIsWrittenAndThenNamed() async throws {
    try await onImage(cluster: 512) { disk, recorder in
      _ = recorder.take()
      try await disk.resize(to: 64 << 20)
      let expected: Set<DebugEvent> = [
        .l1GrowAllocTable, .l1GrowWriteTable, .l1GrowActivateTable, .clusterAlloc,
      ]
      let events = recorder.take()
      #expect(events.isSuperset(of: expected))
      #expect(!events.contains(.l1Update), "it is not written in place")
    }
  }

  @Test func whatIsGivenUpIsFreed() async throws {
    try await onImage { disk, recorder in
      try await disk.fill(1, at: 0, count: 65536)
      try await disk.flush()
      _ = recorder.take()
      try await disk.discard(ByteRange(0, 65536))
      for _ in 0..<3 { try await disk.flush() }
      #expect(recorder.take().contains(.clusterFree))
    }
  }
}
