import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Qcow2
import Testing

/// Changes of snapshots that a crash or an error cuts off: the image says what it said before, or
/// what it was to say, and nothing is wrong with it but leaks.
@Suite struct SnapshotFaultTests {
  /// A change of an image that has the snapshots 1 and 2.
  enum Change: String, CaseIterable, Sendable {
    case create, apply, delete, deleteOther

    func perform(on image: SnapshotImage) async throws {
      switch self {
      case .create: try await image.graph.createSnapshot(named: "new", of: image.node)
      case .apply: try await image.graph.applySnapshot(.id("1"), to: image.node)
      case .delete: try await image.graph.deleteSnapshot(.id("1"), of: image.node)
      case .deleteOther: try await image.graph.deleteSnapshot(.id("2"), of: image.node)
      }
    }
  }

  static let geometries: [(clusterSize: Int, refcountBits: Int)] = [
    (512, 16), (512, 64), (4096, 4),
  ]

  /// An image with two snapshots and a disk that shares some with each, and is longer than they.
  private func prepare(
    _ geometry: (clusterSize: Int, refcountBits: Int), in world: World
  ) async throws -> SparseImage {
    var options = NewImageOptions(virtualSize: 40 << 10)
    options.clusterSize = geometry.clusterSize
    options.refcountBits = geometry.refcountBits
    let new = try await SnapshotImage.create(options, in: world)
    let image = try await SnapshotImage(new, in: world, forgets: false)
    func write(_ range: ByteRange, _ number: Int) async throws {
      try await image.door.write(WritePattern.bytes(range, write: number), at: range.lower)
    }
    try await write(ByteRange(0, 38 << 10), 1)
    try await image.graph.createSnapshot(named: "one", of: image.node)
    try await write(ByteRange(3 << 10, 7 << 10), 2)
    try await image.door.writeZeroes(ByteRange(8 << 10, 12 << 10))
    try await image.graph.createSnapshot(named: "two", of: image.node)
    try await image.door.resize(to: 80 << 10)
    try await write(ByteRange(1 << 10, 5 << 10), 3)
    try await image.door.discard(ByteRange(12 << 10, 20 << 10))
    try await write(ByteRange(60 << 10, 70 << 10), 4)
    try await image.close()
    return image.disk.visibleImage
  }

  /// What the image says before a change and after it.
  private func stories(
    _ change: Change, _ file: SparseImage, in world: World
  ) async throws -> (before: ImageStory, after: ImageStory) {
    let image = try await SnapshotImage(file, in: world, forgets: false)
    let before = try await ImageStory(of: file, in: world)
    try await change.perform(on: image)
    try await image.close()
    let after = try await ImageStory(of: image.disk.visibleImage, in: world)
    #expect(before != after && before.leaks == 0 && after.leaks == 0)
    return (before, after)
  }

  @Test(arguments: Change.allCases, 0..<3)
  func aCrashLeavesTheOldOrTheNew(change: Change, number: Int) async throws {
    let world = World.simulated(seed: UInt64(number), stepLimit: .max)
    let problem = try await world.run { () async throws -> String? in
      let file = try await prepare(Self.geometries[number], in: world)
      let (before, after) = try await stories(change, file, in: world)
      let image = try await SnapshotImage(file, in: world)
      let points = CrashPointList()
      image.disk.observe { [weak disk = image.disk] operation, phase in
        if operation == .sync, phase == .completing, let disk { points.add(disk.crashPoint()) }
      }
      try await change.perform(on: image)
      points.add(image.disk.crashPoint())
      var seen: Set<Bool> = []
      for point in points.all {
        for state in point.states(.brief(maximum: 10), seed: UInt64(number)) {
          do {
            let story = try await ImageStory(of: state.image, in: world)
            seen.insert(story == after)
            if story.leaks > 0, !(try await isRepaired(state.image, story, in: world)) {
              return "\(state): a repair of leaks does not make it clean"
            }
            guard story == before || story == after else {
              return "\(state): neither old nor new: \(story.difference(from: before) ?? "")"
            }
          } catch let problem as ImageStory.Problem {
            return "\(state): \(problem.text)"
          }
        }
      }
      return seen == [false, true] ? nil : "the change was not seen to happen"
    }
    #expect(problem == nil, "\(change), \(Self.geometries[number])")
  }

  /// Whether a repair of leaks alone leaves a clean image that says the same.
  private func isRepaired(
    _ file: SparseImage, _ story: ImageStory, in world: World
  ) async throws -> Bool {
    let disk = SimulatedDisk(file, in: world, schedulingPoints: false, forgets: false)
    let graph = DamagedImage.makeGraph(in: world)
    let node = try graph.addNode(disk, name: "file")
    var options = OpenOptions(format: "qcow2")
    options.isForCheck = true
    let image = try await graph.open(file: node, options)
    _ = try await (image.driver as? Qcow2Driver)?.repair(.leaks)
    try await graph.close(image)
    let repaired = try await ImageStory(of: disk.visibleImage, in: world)
    return repaired == story && repaired.leaks == 0
  }

  /// How an operation of the host fails.
  enum Failure: String, CaseIterable, Sendable {
    case once, forEver, shortWrite, sync

    func plan(nth: Int) -> FaultPlan {
      switch self {
      case .once: .failing(.everything, nth: nth)
      case .forEver: .failing(.everything, nth: nth, times: .max)
      case .shortWrite: FaultPlan([.init([.write], nth: nth, writtenBytes: 512)])
      case .sync: .failing([.sync], nth: nth)
      }
    }
  }

  @Test(arguments: Change.allCases, Failure.allCases)
  func whicheverOperationFailsTheImageIsTheOldOrTheNew(
    change: Change, failure: Failure
  ) async throws {
    let world = World.simulated(seed: 5, stepLimit: .max)
    let problem = try await world.run { () async throws -> String? in
      let file = try await prepare(Self.geometries[0], in: world)
      let (before, after) = try await stories(change, file, in: world)
      for nth in 1... {
        let image = try await SnapshotImage(file, in: world)
        image.disk.faults = failure.plan(nth: nth)
        var isRefused = false
        do { try await change.perform(on: image) } catch { isRefused = true }
        let wasStruck = image.disk.faultCount > 0
        if !wasStruck { return nth > 3 ? nil : "no operation failed" }
        image.disk.faults = .none
        if let problem = await goOn(image, change, isRefused, before, after) {
          return "\(nth): \(problem)"
        }
      }
      return nil
    }
    #expect(problem == nil, "\(change), \(failure)")
  }

  /// Goes on with an image after a failure: writes, closes, and reads all of it.
  private func goOn(
    _ image: SnapshotImage, _ change: Change, _ isRefused: Bool, _ before: ImageStory,
    _ after: ImageStory
  ) async -> String? {
    let canary = ByteRange(4 << 10, 9 << 10)
    let bytes = WritePattern.bytes(canary, write: 77)
    // A failed flush ends writing, and more must not be asked for.
    let isWritten = (try? await image.door.write(bytes, at: canary.lower)) != nil
    try? await image.close()
    do {
      for file in [image.disk.durableImage, image.disk.visibleImage] {
        let story = try await ImageStory(of: file, in: image.graph.world)
        let isOldOrNew = [before, after].contains { candidate in
          var written = candidate
          written.disk.replaceSubrange(canary.lower..<canary.upper, with: bytes)
          return isMixture(story, of: candidate, and: isWritten ? written : candidate)
        }
        guard isOldOrNew else {
          return "neither old nor new (refused: \(isRefused)): "
            + (story.difference(from: before) ?? "")
        }
      }
    } catch let problem as ImageStory.Problem {
      return problem.text
    } catch {
      return "\(error)"
    }
    return nil
  }

  /// Whether each sector is of one of the two: a write that was not flushed may be there in part.
  private func isMixture(
    _ story: ImageStory, of one: ImageStory, and other: ImageStory
  ) -> Bool {
    guard story.snapshots == one.snapshots, story.disk.count == one.disk.count else {
      return false
    }
    return stride(from: 0, to: story.disk.count, by: 512).allSatisfy { start in
      let sector = story.disk[start..<start + 512]
      return sector == one.disk[start..<start + 512] || sector == other.disk[start..<start + 512]
    }
  }
}
