import BlockLayer
import BlockTestKit
import DirtyBitmap
import Execution
import Primitives
import Qcow2
import Synchronization

/// A few steps done to a small image on a disk that forgets, with every moment taken down at which
/// a sync was about to make something durable.
final class WorkloadRun: Sendable {
  /// A moment at which the power may fail, and the states of which one must be found then.
  struct Moment {
    let point: CrashPoint
    let states: [GuestState]
  }

  let setting: WorkloadSetting
  let steps: [WorkloadStep]
  let world: World
  let disk: SimulatedDisk

  private struct State {
    var candidates: [GuestState]
    var moments: [Moment] = []
    var isRecording = false
    var failures: [String] = []
  }
  private let state: Mutex<State>
  /// What the backing disk holds, if there is one.
  let backing: SparseImage?
  /// What goes wrong with the disk in the last step and in closing.
  private let faults: FaultPlan?

  init(_ setting: WorkloadSetting, _ steps: [WorkloadStep], faults: FaultPlan? = nil) {
    self.setting = setting
    self.steps = steps
    self.faults = faults
    world = World.simulated(seed: 1, stepLimit: .max)
    disk = SimulatedDisk(in: world, schedulingPoints: false)
    backing = setting.hasBacking ? Self.makeBase(setting) : nil
    var contents = backing ?? SparseImage()
    contents.resize(to: setting.clusters * setting.clusterSize)
    state = Mutex(
      State(candidates: [
        GuestState(
          model: ModelDisk(contents), backingName: setting.hasBacking ? Self.firstName : nil)
      ]))
    disk.observe { [weak self] operation, phase in
      if operation == .sync, phase == .completing { self?.takeMoment() }
    }
  }

  static let firstName = "base"
  static let secondName = "other"

  /// What the backing disk holds: data, a hole, data, and an end before the overlay's.
  private static func makeBase(_ setting: WorkloadSetting) -> SparseImage {
    let cluster = setting.clusterSize
    var image = SparseImage(length: (setting.clusters - 1) * cluster - 512)
    for range in [ByteRange(0, 5 * cluster), ByteRange(7 * cluster, image.length)] {
      image.write(WritePattern.bytes(range, write: 0xb0000), at: range.lower)
    }
    return image
  }

  /// What steps threw that had no reason to; empty unless the disk has faults.
  var failures: [String] { state.withLock { $0.failures } }

  /// The moments of the last step and of closing.
  func run() throws -> [Moment] {
    try world.runBlocking { try await self.runInside() }
    return state.withLock { $0.moments }
  }

  private func runInside() async throws {
    try await prepare()
    var image = try await open()
    for (index, step) in steps.enumerated() {
      if index == steps.count - 1 {
        state.withLock { $0.isRecording = true }
        if let faults { disk.faults = faults }
      }
      do {
        image = try await perform(step, number: index + 1, image)
      } catch {
        note("\(step.rawValue): \(error)")
      }
    }
    takeMoment()
    do { try await image.close() } catch { note("closing: \(error)") }
    if failures.isEmpty { settleForClosing() }
    takeMoment()
  }

  // MARK: - Expectations

  private func takeMoment() {
    state.withLock { state in
      guard state.isRecording else { return }
      state.moments.append(Moment(point: disk.crashPoint(), states: state.candidates))
    }
  }

  private func note(_ failure: String) { state.withLock { $0.failures.append(failure) } }

  private var present: GuestState { state.withLock { $0.candidates[0] } }

  private func change(_ body: (inout GuestState) -> Void) {
    state.withLock { state in
      for index in state.candidates.indices { body(&state.candidates[index]) }
    }
  }

  /// Does something that leaves the present state or `new`, and then `new`.
  private func move(to new: GuestState, _ body: () async throws -> Void) async throws {
    state.withLock { $0.candidates.append(new) }
    try await body()
    state.withLock { $0.candidates = [new] }
  }

  private func settleForClosing() {
    change { state in
      let ticket = state.model.beginFlush()
      state.model.endFlush(ticket)
      state.bitmaps = state.bitmaps.map {
        BitmapExpectation(name: $0.name, base: $0.base, mustExist: true)
      }
    }
  }

  // MARK: - Steps

  private func open() async throws -> ImageFixture {
    try await ImageFixture(disk, backing: backing)
  }

  /// The image that a workload begins with; all of it is durable.
  private func prepare() async throws {
    try await ImageFixture.create(setting.imageOptions, on: disk)
    var image = try await open()
    let cluster = setting.clusterSize
    try await request(
      .write(ByteRange(offset: 3 * cluster, count: 3 * cluster), number: 0xa0000), image)
    if setting.hasSharing { try await createSnapshot("before", image) }
    try await request(
      .write(ByteRange(offset: 3 * cluster, count: cluster), number: 0xa0001), image)
    try await compress(ByteRange(offset: 5 * cluster, count: cluster), number: 0xa0002, image)
    if setting.version == .v3 { try await addBitmap("old", image) }
    try await image.close()
    settleForClosing()
    image = try await open()
    try await image.close()
  }

  private func perform(
    _ step: WorkloadStep, number: Int, _ image: ImageFixture
  ) async throws -> ImageFixture {
    if let operation = step.request(setting, number: number) {
      try await request(operation, image)
      return image
    }
    if let range = step.compressedRange(setting) {
      try await compress(range, number: number, image)
      return image
    }
    switch step {
    case .createSnapshot where setting.hasSharing:
      if present.snapshots["new"] == nil { try await createSnapshot("new", image) }
    case .applySnapshot:
      if let old = present.snapshots["before"] {
        try await move(to: present.resized(to: old)) {
          try await image.graph.applySnapshot(.name("before"), to: image.node)
        }
      }
    case .deleteSnapshot:
      var new = present
      if new.snapshots.removeValue(forKey: "before") != nil {
        try await move(to: new) {
          try await image.graph.deleteSnapshot(.name("before"), of: image.node)
        }
      }
    case .grow: try await resize(by: 3 * setting.clusterSize + 512, image)
    case .shrink: try await resize(by: -(setting.clusters / 2) * setting.clusterSize + 512, image)
    case .addBitmap, .clearBitmap, .removeBitmap: try await changeBitmaps(step, image)
    case .reopen:
      try await image.close()
      settleForClosing()
      return try await open()
    case .renameBacking where setting.hasBacking:
      var new = present
      new.backingName = Self.secondName
      try await move(to: new) {
        try await Rename.backing(of: image.node, to: Self.secondName)
      }
    case .makeEmpty:
      var below = backing ?? SparseImage()
      below.resize(to: present.model.length)
      try await move(to: present.emptied(showing: below.bytes)) {
        try await image.node.makeEmpty()
      }
    case .amendRefcounts where setting.version == .v3 && setting.refcountBits > 1:
      try await amend(image)
    default: break
    }
    return image
  }

  // MARK: - Single steps

  /// A guest's request, if the disk is long enough for it.
  private func request(_ operation: GuestOperation, _ image: ImageFixture) async throws {
    guard operation.range.upper <= image.backend.length else { return }
    let ticket = beginning(operation)
    switch operation {
    case .write(let range, let number):
      try await image.backend.write(WritePattern.bytes(range, write: number), at: range.lower)
    case .writeZeroes(let range, let mayUnmap):
      try await image.backend.writeZeroes(range, mayUnmap: mayUnmap)
    case .discard(let range): try await image.backend.discard(range)
    case .flush: try await image.backend.flush()
    case .read: break
    }
    change { state in
      if operation == .flush { state.model.endFlush(ticket) } else { state.model.end(ticket) }
    }
  }

  private func beginning(_ operation: GuestOperation) -> ModelDisk.Ticket {
    state.withLock { state in
      // Only while one thing is under way are there more candidates.
      state.candidates[0].model.begin(operation)
    }
  }

  private func compress(_ range: ByteRange, number: Int, _ image: ImageFixture) async throws {
    guard range.upper <= image.backend.length else { return }
    let ticket = beginning(.write(range, number: number))
    let bytes = WritePattern.bytes(range, write: number)
    try await image.node.writeCompressed(range, from: bytes.span.bytes)
    change { $0.model.end(ticket) }
  }

  private func createSnapshot(_ name: String, _ image: ImageFixture) async throws {
    let bytes = try await contents(image)
    var new = present.settled(on: bytes)
    new.snapshots[name] = bytes
    try await move(to: new) {
      try await image.graph.createSnapshot(named: name, of: image.node)
    }
  }

  private func resize(by change: Int, _ image: ImageFixture) async throws {
    // The format's version 2 cannot say how large a snapshot's disk was.
    guard setting.version == .v3 || present.snapshots.isEmpty else { return }
    let old = try await contents(image)
    let length = old.count + change
    guard length > 8 * setting.clusterSize else { return }
    let bytes =
      Array(old.prefix(length)) + [UInt8](repeating: 0, count: max(0, length - old.count))
    try await move(to: present.resized(to: bytes)) {
      try await image.backend.resize(to: length, mayShrink: true)
    }
  }

  private func amend(_ image: ImageFixture) async throws {
    var options = AmendOptions()
    options.refcountBits = setting.refcountBits == 16 ? 32 : 16
    let amended = options
    try await move(to: present) { try await image.node.amend(amended) }
  }

  private func addBitmap(_ name: String, _ image: ImageFixture) async throws {
    let granularity = 512
    try image.node.addBitmap(name, granularity: granularity, persistent: true)
    let bitmap = BitmapExpectation(name: name, base: SparseImage(try await contents(image)))
    change { $0.bitmaps.append(bitmap) }
  }

  private func changeBitmaps(_ step: WorkloadStep, _ image: ImageFixture) async throws {
    guard setting.version == .v3 else { return }
    switch step {
    case .addBitmap where image.node.bitmaps.find("new") == nil:
      try await addBitmap("new", image)
    case .clearBitmap:
      guard let bitmap = image.node.bitmaps.find("old") else { return }
      try bitmap.clear()
      let base = SparseImage(try await contents(image))
      change { state in
        for index in state.bitmaps.indices where state.bitmaps[index].name == "old" {
          state.bitmaps[index] = BitmapExpectation(name: "old", base: base, mustExist: true)
        }
      }
    case .removeBitmap where image.node.bitmaps.find("old") != nil:
      // From now on it may be there or not.
      change { state in state.bitmaps.removeAll { $0.name == "old" } }
      try await image.node.removeBitmap("old")
    default: break
    }
  }

  private func contents(_ image: ImageFixture) async throws -> [UInt8] {
    try await image.backend.read(at: 0, count: image.backend.length)
  }
}

extension GuestState {
  /// The same without contents of its own: bitmaps are not told, and begin anew for the test.
  fileprivate func emptied(showing bytes: [UInt8]) -> GuestState {
    var state = settled(on: bytes)
    for index in state.bitmaps.indices {
      state.bitmaps[index] = BitmapExpectation(
        name: bitmaps[index].name, base: SparseImage(bytes), mustExist: bitmaps[index].mustExist)
    }
    return state
  }
}

private enum Rename {
  static func backing(of node: BlockNode, to name: String) async throws {
    guard let driver = node.driver as? any BackingFileImage else { return }
    try await driver.recordBacking(RecordedBacking(name: name, format: "raw"))
  }
}

extension WorkloadSetting {
  /// The options of the image.
  var imageOptions: NewImageOptions {
    var options = NewImageOptions(virtualSize: clusters * clusterSize)
    options.version = version == .v2 ? .v2 : .v3
    options.clusterSize = clusterSize
    options.refcountBits = refcountBits
    options.hasExtendedL2 = hasExtendedL2
    if hasBacking {
      options.backingFileName = EmbeddedName(bytes: Array(WorkloadRun.firstName.utf8))
      options.backingFormat = EmbeddedName(bytes: Array("raw".utf8))
    }
    return options
  }
}
