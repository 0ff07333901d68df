import BlockLayer
import BlockTestKit
import DirtyBitmap
import Execution
import Primitives
import Synchronization

/// A run of a scenario on a disk that forgets, with every moment taken down at which a sync was
/// about to make something durable: the crashes with the most to lose.
final class CrashRun: Sendable {
  let scenario: CrashScenario
  let world: World
  let disk: SimulatedDisk

  struct State {
    var expectation: CrashExpectation
    var moments: [CrashMoment] = []
    var isRecording = false
    var problems: [String] = []
  }
  let state: Mutex<State>
  private let guestLocks = RangeLock()
  /// What goes wrong with the disk from the beginning of the work on: then requests may be refused.
  private let faults: FaultPlan?

  init(_ scenario: CrashScenario, faults: FaultPlan? = nil) {
    self.scenario = scenario
    self.faults = faults
    world = World.simulated(seed: scenario.seed)
    disk = SimulatedDisk(in: world)
    let name = scenario.backingImage.map { _ in CrashScenario.backingName }
    state = Mutex(
      State(
        expectation: CrashExpectation(
          model: ModelDisk(scenario.initialContents), sizes: [scenario.size],
          backingNames: [name])))
    disk.observe { [weak self] operation, phase in
      if operation == .sync, phase == .completing { self?.takeMoment() }
    }
  }

  /// What the guests' own operations were refused (unless the disk has faults), or read wrongly.
  var problems: [String] { state.withLock { $0.problems } }

  /// The moments of the whole run.
  func run() throws -> [CrashMoment] {
    try world.runBlocking { try await self.runInside() }
    return state.withLock { $0.moments }
  }

  private func takeMoment() {
    let point = disk.crashPoint()
    state.withLock { state in
      guard state.isRecording else { return }
      state.moments.append(CrashMoment(point: point, expectation: state.expectation))
    }
  }

  func expect(_ change: (inout CrashExpectation) -> Void) {
    state.withLock { change(&$0.expectation) }
  }

  // MARK: - The run

  private func runInside() async throws {
    try await ImageFixture.create(scenario.imageOptions, on: disk)
    var image = try await prepare()
    state.withLock { $0.isRecording = true }
    if let faults { disk.faults = faults }
    do {
      await append(image.backend)
      if scenario.takesSnapshots { try await createSnapshot("first", image) }
      await work(part: 0, image.backend, length: scenario.size)
      image = try await changeImage(image)
      await work(part: 1, image.backend, length: scenario.finalSize)
      if scenario.takesSnapshots { try await changeSnapshots(image) }
      takeMoment()
      try await image.close()
    } catch  where faults != nil {
      world.record("given up: \(error)")
    }
    takeMoment()
  }

  /// Fills the disk and adds the bitmaps, as the scenario says; everything is durable afterwards.
  private func prepare() async throws -> ImageFixture {
    let image = try await open()
    if scenario.prefilledBytes > 0 {
      let range = ByteRange(0, scenario.prefilledBytes)
      await perform(.write(range, number: CrashScenario.prefillWrite), image.backend)
      await perform(.flush, image.backend)
    }
    guard !scenario.granularities.isEmpty else { return image }
    var base = SparseImage(try await image.backend.read(at: 0, count: scenario.size))
    base.resize(to: scenario.finalSize)
    for (index, granularity) in scenario.granularities.enumerated() {
      let name = "bitmap \(index)"
      try image.node.addBitmap(name, granularity: granularity, persistent: true)
      let bitmap = BitmapExpectation(name: name, base: base, mustExist: true)
      expect { $0.bitmaps.append(bitmap) }
    }
    try await image.close()
    return try await open()
  }

  /// Writes behind what was there before, if the scenario says so.
  private func append(_ backend: BlockBackend) async {
    guard scenario.appendedBytes > 0 else { return }
    let range = ByteRange(offset: scenario.prefilledBytes, count: scenario.appendedBytes)
    await perform(.write(range, number: CrashScenario.prefillWrite + 1), backend)
    await perform(.flush, backend)
  }

  /// What happens to the image half-way.
  private func changeImage(_ before: ImageFixture) async throws -> ImageFixture {
    var image = before
    if scenario.reopens {
      try await image.close()
      image = try await open()
    }
    if scenario.removesBitmap, let name = state.withLock({ $0.expectation.bitmaps.first?.name }) {
      expect { $0.bitmaps.removeFirst() }
      try await image.node.removeBitmap(name)
    }
    if scenario.renames, let driver = image.node.driver as? any BackingFileImage {
      let backing = RecordedBacking(name: CrashScenario.newBackingName, format: "raw")
      expect { _ = $0.backingNames.insert(backing.name) }
      try await driver.recordBacking(backing)
      expect { $0.backingNames = [backing.name] }
    }
    if let size = scenario.grownSize {
      expect { _ = $0.sizes.insert(size) }
      try await image.backend.resize(to: size)
      expect { $0.sizes = [size] }
    }
    return image
  }

  private func open() async throws -> ImageFixture {
    try await ImageFixture(disk, backing: scenario.backingImage)
  }

  // MARK: - Guests

  func work(part: Int, _ backend: BlockBackend, length: Int) async {
    await withTaskGroup(of: Void.self) { group in
      for lane in 0..<scenario.lanes {
        group.addTask {
          for operation in self.scenario.operations(lane: lane, part: part, length: length) {
            self.world.record("lane \(lane): \(operation)")
            await self.perform(operation, backend)
          }
        }
      }
    }
  }

  /// Does what a guest asks, and keeps the model.
  ///
  /// As a guest's own kernel does, requests for the same sectors wait for each other.
  private func perform(_ operation: GuestOperation, _ backend: BlockBackend) async {
    let sectors = operation.range.roundedOut(to: Sector.size)
    await guestLocks.withLock(sectors) {
      let ticket = state.withLock { $0.expectation.model.begin(operation) }
      do {
        try await ask(operation, backend)
        expect { expectation in
          if operation == .flush {
            expectation.model.endFlush(ticket)
          } else {
            expectation.model.end(ticket)
          }
        }
      } catch {
        state.withLock { state in
          if faults == nil { state.problems.append("\(operation) failed: \(error)") }
          if operation == .flush {
            state.expectation.model.endFlush(ticket, succeeded: false)
          } else {
            state.expectation.model.end(ticket, succeeded: false)
          }
        }
      }
    }
  }

  private func ask(_ operation: GuestOperation, _ backend: BlockBackend) async throws {
    switch operation {
    case .write(let range, let number):
      let bytes = WritePattern.bytes(range, write: number)
      if scenario.compresses, isWhole(range, backend) {
        try await backend.writeCompressed(range, from: bytes.span.bytes)
      } else {
        try await backend.write(range, from: bytes.span.bytes)
      }
    case .writeZeroes(let range, let mayUnmap):
      try await backend.writeZeroes(range, mayUnmap: mayUnmap)
    case .discard(let range): try await backend.discard(range)
    case .flush: try await backend.flush()
    case .read(let range):
      let bytes = try await backend.read(at: range.lower, count: range.count)
      if let difference = state.withLock({ $0.expectation.model.verify(bytes, at: range) }) {
        state.withLock { $0.problems.append("\(operation): \(difference)") }
      }
    }
  }

  /// Whether `range` is made of whole clusters.
  private func isWhole(_ range: ByteRange, _ backend: BlockBackend) -> Bool {
    range.lower.isAligned(to: scenario.clusterSize)
      && (range.upper.isAligned(to: scenario.clusterSize) || range.upper == backend.length)
  }
}
