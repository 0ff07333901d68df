import BlockLayer
import BlockTestKit
import Execution
import ImageOps
import Lamina
import Primitives
import Qcow2
import Synchronization
import Testing

/// A loss of power at any moment of a commit or a rebase.
@Suite struct CrashTests {
  private static let plan = CrashPlan.brief(maximum: 5)
  private static let length = 60 << 10

  /// The moments before each sync of any disk.
  private final class Moments: Sendable {
    private let disks: [SimulatedDisk]
    private let list = Mutex<[[CrashPoint]]>([])

    init(_ disks: [SimulatedDisk]) {
      self.disks = disks
      for disk in disks {
        disk.observe { [weak self] operation, phase in
          if operation == .sync, phase == .completing { self?.take() }
        }
      }
    }

    var all: [[CrashPoint]] { list.withLock { $0 } }

    func take() {
      let points = disks.map { $0.crashPoint() }
      list.withLock { $0.append(points) }
    }
  }

  private func disk(_ image: SparseImage, _ lab: ChainLab) throws -> BlockNode {
    try lab.graph.addNode(SimulatedDisk(image, in: lab.world, schedulingPoints: false))
  }

  private func corruptions(_ image: BlockNode) async throws -> Int {
    guard let image = image.driver as? any CheckableImage else { return 0 }
    return try await image.check().corruptions
  }

  @Test(arguments: 0..<8)
  func aCommitThatIsCutOffLosesNothing(seed: Int) async throws {
    let lab = ChainLab(seed: UInt64(seed))
    try await lab.world.run {
      var random = lab.world.makeRandom("crash")
      let baseDisk = SimulatedDisk(in: lab.world)
      let topDisk = SimulatedDisk(in: lab.world)
      let baseFile = try lab.graph.addNode(baseDisk, options: NodeOptions(discard: .unmap))
      let topFile = try lab.graph.addNode(topDisk, options: NodeOptions(discard: .unmap))
      let isRaw = seed % 2 == 0
      if isRaw { try await baseFile.resize(to: Self.length / 2) }
      let base =
        isRaw
        ? baseFile
        : try await lab.image(length: Self.length / 2, clusterSize: 1024, file: baseFile)
      try await lab.scribble(base, count: 4, &random)
      let top = try await lab.image(
        length: Self.length, clusterSize: 512, backing: base, file: topFile)
      try await lab.scribble(top, count: 6, &random)
      let expected = try await lab.contents(top)
      try await base.flush()
      try await top.flush()
      let moments = Moments([baseDisk, topDisk])
      try await Commit.run(top, into: base)
      moments.take()
      #expect(moments.all.count > 4)
      for points in moments.all {
        for below in points[0].states(Self.plan, seed: UInt64(seed)) {
          for above in points[1].states(Self.plan, seed: UInt64(seed)) {
            let lower = try disk(below.image, lab)
            let backing = isRaw ? lower : try await lab.open(lower, backing: nil, readOnly: true)
            let image = try await lab.open(
              try disk(above.image, lab), backing: backing, readOnly: true)
            let difference = try await lab.contents(image).firstDifference(from: expected)
            #expect(difference == nil, "seed \(seed): \(below), \(above)")
            #expect(try await corruptions(image) == 0, "seed \(seed): \(above)")
          }
        }
      }
    }
  }

  @Test(arguments: 0..<8)
  func aRebaseThatIsCutOffShowsTheSameOnTheNameThatIsThere(seed: Int) async throws {
    let lab = ChainLab(seed: UInt64(seed))
    try await lab.world.run {
      var random = lab.world.makeRandom("crash")
      let old = try lab.disk(length: Self.length)
      let new = try lab.disk(length: Self.length * 3 / 4)
      try await lab.scribble(old, count: 4, &random)
      try await lab.scribble(new, count: 4, &random)
      let topDisk = SimulatedDisk(in: lab.world)
      let topFile = try lab.graph.addNode(topDisk, options: NodeOptions(discard: .unmap))
      let top = try await lab.image(
        length: Self.length, clusterSize: 512, version: seed % 4 == 0 ? .v2 : .v3, backing: old,
        file: topFile)
      try await lab.scribble(top, count: 2, &random)
      let expected = try await lab.contents(top)
      try await top.flush()
      let moments = Moments([topDisk])
      let isFlat = seed % 3 == 0
      try await Rebase.safely(
        top, onto: isFlat ? nil : RebaseTests.record, showing: isFlat ? nil : new)
      moments.take()
      for points in moments.all {
        for state in points[0].states(Self.plan, seed: UInt64(seed)) {
          let file = try disk(state.image, lab)
          let probe = try await lab.open(file, backing: nil, readOnly: true)
          let name = (probe.driver as? any BackingFileImage)?.recordedBacking?.name
          let again = try disk(state.image, lab)
          let backing = name == nil ? nil : name == RebaseTests.record.name ? new : old
          let image = try await lab.open(again, backing: backing, readOnly: true)
          let difference = try await lab.contents(image).firstDifference(from: expected)
          #expect(difference == nil, "seed \(seed), on \(name ?? "none"): \(state)")
          #expect(try await corruptions(image) == 0, "seed \(seed): \(state)")
        }
      }
    }
  }
}
