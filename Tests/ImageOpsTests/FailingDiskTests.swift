import BlockLayer
import BlockTestKit
import Execution
import ImageOps
import Primitives
import Qcow2
import SystemPackage
import Testing

/// Disks that fail on either side.
@Suite struct FailingDiskTests {
  private static let length = 3 << 20

  /// A disk with data everywhere but in the middle.
  private func faulty(_ lab: ChainLab, _ faults: FaultPlan) async throws -> SimulatedDisk {
    let disk = SimulatedDisk(SparseImage(length: Self.length), in: lab.world)
    let node = try lab.graph.addNode(disk)
    for range in [ByteRange(0, 1 << 20), ByteRange(2 << 20, 3 << 20)] {
      try await lab.write(node, range)
    }
    disk.faults = faults
    return disk
  }

  @Test(arguments: [false, true])
  func anUnreadableSourceIsToldWithItsPlace(keepsOrder: Bool) async throws {
    var failures = 0
    for nth in 1..<100 {
      let lab = ChainLab(seed: UInt64(nth))
      let hasFailed = try await lab.world.run { () async throws -> Bool in
        let disk = try await faulty(lab, FaultPlan([FaultPlan.Fault([.read], nth: nth)]))
        let source = try lab.graph.addNode(disk)
        let target = try await lab.image(length: Self.length)
        var conversion = ImageConversion()
        conversion.keepsOrder = keepsOrder
        conversion.options.bufferByteCount = 1 << 18
        do {
          try await conversion.run(from: [source], to: target)
          #expect(disk.faultCount == 0, "a failure was not told")
          return false
        } catch let error as BlockError {
          #expect(error.errno == .ioError)
          #expect(error.message.hasPrefix("error while reading at byte "), "\(error)")
          return true
        }
      }
      guard hasFailed else { break }
      failures += 1
    }
    #expect((8..<99).contains(failures))
  }

  @Test(arguments: [Errno.ioError, .noSpace])
  func aTargetThatFailsIsToldWithItsPlace(errno: Errno) async throws {
    var failures = 0
    for nth in 1..<200 {
      let lab = ChainLab(seed: UInt64(nth))
      let hasFailed = try await lab.world.run { () async throws -> Bool in
        let source = try lab.graph.addNode(try await faulty(lab, .none))
        let disk = SimulatedDisk(in: lab.world)
        let file = try lab.graph.addNode(disk)
        let target = try await lab.image(length: Self.length, file: file)
        disk.faults = FaultPlan([FaultPlan.Fault([.write], nth: nth, errno: errno)])
        var conversion = ImageConversion()
        conversion.options.bufferByteCount = 1 << 18
        do {
          try await conversion.run(from: [source], to: target)
          #expect(disk.faultCount == 0, "a failure was not told")
          return false
        } catch let error as BlockError {
          #expect(error.errno == errno)
          let isPlaced =
            error.message.hasPrefix("error while writing at byte ")
            || error.message.hasPrefix("error while flushing the target")
          #expect(isPlaced, "\(error)")
          return true
        }
      }
      guard hasFailed else { break }
      failures += 1
    }
    #expect((8..<199).contains(failures))
  }

  @Test func unreadableSectorsAreZerosInWhatIsSalvaged() async throws {
    let lab = ChainLab(seed: 7)
    try await lab.world.run {
      let disk = try await faulty(lab, .none)
      let source = try lab.graph.addNode(disk)
      var expected = try await lab.contents(source)
      let bad = [
        ByteRange(1024, 1536), ByteRange(700_000, 700_100), ByteRange(3_000_000, 3_000_001),
      ]
      disk.faults = FaultPlan(
        bad.map { FaultPlan.Fault([.read], in: $0, times: .max) })
      let target = try lab.disk(length: Self.length)
      var conversion = ImageConversion()
      conversion.salvages = true
      let unreadable = try await conversion.run(from: [source], to: target)
      let sectors = bad.map { $0.roundedOut(to: 512) }
      #expect(unreadable.ranges == sectors)
      #expect(unreadable.byteCount == sectors.reduce(0) { $0 + $1.count })
      #expect(unreadable.firstError?.errno == .ioError)
      for range in sectors { for offset in range.lower..<range.upper { expected[offset] = 0 } }
      #expect(try await lab.contents(target).firstDifference(from: expected) == nil)
    }
  }

  @Test func anOverlayIsNotEmptiedUnlessItsBaseIsDurable() async throws {
    for operation in [DiskOperation.write, .sync] {
      for nth in 1..<40 {
        let lab = ChainLab(seed: UInt64(nth))
        let hasFailed = try await lab.world.run { () async throws -> Bool in
          let disk = try await faulty(lab, .none)
          let base = try lab.graph.addNode(disk)
          let top = try await lab.image(length: Self.length, backing: base)
          try await lab.write(top, ByteRange(500_000, 1_500_000))
          let allocated = try await lab.allocatedBytes(top)
          let expected = try await lab.contents(top)
          disk.faults = FaultPlan([FaultPlan.Fault([operation], nth: nth)])
          var options = WorkOptions()
          options.bufferByteCount = 1 << 17
          do {
            try await Commit.run(top, into: base, options)
            return false
          } catch {
            #expect(try await lab.allocatedBytes(top) == allocated)
            #expect(try await lab.contents(top) == expected)
            return true
          }
        }
        guard hasFailed else { break }
        #expect(nth < 39)
      }
    }
  }
}
