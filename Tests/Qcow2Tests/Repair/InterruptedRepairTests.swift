import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Qcow2
import Testing

/// A repair that fails or crashes in the middle: the image is no worse, and the next repair ends
/// what it began.
@Suite struct InterruptedRepairTests {
  typealias Damage = @Sendable (DamagedImage) async throws -> Void

  /// Damages that need each kind of repair.
  static let damages: [Damage] = [
    { image in  // leaks, too low refcounts, flags, a cluster that is none
      _ = try await image.append([UInt64]())
      try await image.setRefcount(2, of: 21)
      try await image.setEntry(0, DamagedImage.copied | UInt64(image.data(1)))
      try await image.setEntry(2, DamagedImage.copied | 0x5201)
      try await image.setRefcount(0, ofOffset: image.l2)
      try await image.write([3], at: 72)
    },
    { image in  // refcounts that have to be rebuilt
      try await image.write([UInt64(image.refcountBlock | 1)], at: image.refcountTable)
      try await image.setEntry(0, UInt64(image.data(0)))
    },
    { image in  // a new snapshot table
      let places = try await image.addSnapshot()
      try await image.write(UInt32(0), at: places.table + 36)
      try await image.write(bytes: Array("1a".utf8), at: places.table + 40)
    },
    { image in  // a snapshot that goes
      let places = try await image.addSnapshot()
      try await image.write(UInt32(2), at: 60)
      try await image.write(UInt32(65 << 20), at: places.table + 64 + 36)
    },
    { image in  // bitmaps that go
      let places = try await image.addBitmap()
      try await image.write(bytes: [UInt8(63)], at: places.directory + 17)
    },
  ]

  /// The bytes of a damaged image, and what the guest sees of it.
  private static func damaged(
    _ damage: @escaping Damage
  ) async throws -> (image: SparseImage, guest: [UInt8]?) {
    let world = World.simulated(seed: 1)
    return try await world.run { () async throws -> (SparseImage, [UInt8]?) in
      let image = try await DamagedImage.make(in: world)
      try await damage(image)
      let guest = try? await image.guestBytes()
      let bytes = try await image.file.bytes(image.file.length)
      return (SparseImage(bytes), guest)
    }
  }

  private static func check(_ disk: SimulatedDisk) async throws -> ImageCheck {
    let graph = DamagedImage.makeGraph(in: disk.world)
    let file = try graph.addNode(disk, name: "file")
    var options = OpenOptions(format: "qcow2", readOnly: true)
    options.isForCheck = true
    let node = try await graph.open(file: file, options)
    guard let driver = node.driver as? any CheckableImage else { throw BlockError(.io, "") }
    let result = try await driver.check()
    try await graph.close(node)
    return result
  }

  /// How many corruptions and errors an interrupted repair of a kind of damage may leave: those
  /// that there were.
  ///
  /// Single entries are repaired one by one: a flag that waits for its refcount counts for a while.
  private static func badness(_ kind: Int, _ image: SparseImage, in world: World)
    async throws -> Int
  {
    let found = try await check(SimulatedDisk(image, in: world, schedulingPoints: false))
    return found.corruptions + found.checkErrors + (kind == 0 ? 2 : 0)
  }

  /// Repairs the image on `disk`.
  private static func repair(_ disk: SimulatedDisk) async throws -> ImageRepairResult {
    let graph = DamagedImage.makeGraph(in: disk.world)
    let file = try graph.addNode(disk, name: "file")
    var options = OpenOptions(format: "qcow2")
    options.isForCheck = true
    let node = try await graph.open(file: file, options)
    guard let driver = node.driver as? any CheckableImage else { throw BlockError(.io, "") }
    let result = try await driver.repair(.all)
    try await graph.close(node)
    return result
  }

  /// Repairs a state that an interrupted repair left; answers what is wrong with the outcome.
  private static func problem(
    of image: SparseImage, guest: [UInt8]?, noWorseThan badness: Int, in world: World
  ) async throws -> String? {
    let disk = SimulatedDisk(image, in: world, schedulingPoints: false)
    let found = try await check(disk)
    guard found.corruptions + found.checkErrors <= badness else {
      return "it is worse than before: \(found)"
    }
    let result = try await repair(disk)
    guard result.remaining.isClean else {
      return "\(result.findings.map(\.message)) \(result.remaining)"
    }
    let graph = DamagedImage.makeGraph(in: world)
    let file = try graph.addNode(disk, name: "file")
    let node = try await graph.open(
      file: file, OpenOptions(format: "qcow2", readOnly: true, backing: .ignore))
    let door = try BlockBackend(node, in: graph)
    let bytes = try await door.read(at: 0, count: door.length)
    await door.close()
    try await graph.close(node)
    return guest == nil || bytes == guest ? nil : "the guest's data has changed"
  }

  @Test(arguments: damages.indices)
  func afterACrashAtAnyMomentTheNextRepairIsComplete(kind: Int) async throws {
    let (image, guest) = try await Self.damaged(Self.damages[kind])
    let world = World.simulated(seed: 7)
    let count = try await world.run { () async throws -> Int in
      let disk = SimulatedDisk(image, in: world, schedulingPoints: false)
      let points = CrashPointList()
      disk.observe { [weak disk] operation, phase in
        if phase == .completing, operation != .read, let disk { points.add(disk.crashPoint()) }
      }
      _ = try await Self.repair(disk)
      disk.observe(nil)
      let badness = try await Self.badness(kind, image, in: world)
      var count = 0
      for (number, point) in points.all.enumerated() {
        for state in point.states(.brief(maximum: 12), seed: 7) {
          count += 1
          let problem = try await Self.problem(
            of: state.image, guest: guest, noWorseThan: badness, in: world)
          #expect(problem == nil, "damage \(kind), moment \(number), \(state)")
          if problem != nil { return count }
        }
      }
      return count
    }
    #expect(count > 5, "damage \(kind)")
  }

  @Test(arguments: damages.indices)
  func whicheverOperationFailsTheNextRepairIsComplete(kind: Int) async throws {
    let (image, guest) = try await Self.damaged(Self.damages[kind])
    let world = World.simulated(seed: 8)
    try await world.run { () async throws in
      let badness = try await Self.badness(kind, image, in: world)
      for nth in 1...500 {
        let disk = SimulatedDisk(image, in: world, schedulingPoints: false)
        disk.faults = .failing(.everything, nth: nth)
        _ = try? await Self.repair(disk)
        guard disk.faultCount > 0 else {
          #expect(nth > 5)
          return
        }
        let problem = try await Self.problem(
          of: disk.visibleImage, guest: guest, noWorseThan: badness, in: world)
        #expect(problem == nil, "damage \(kind), operation \(nth)")
        if problem != nil { return }
      }
    }
  }
}
