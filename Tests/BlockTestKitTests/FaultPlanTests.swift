import BlockLayer
import BlockTestKit
import Execution
import Primitives
import SystemPackage
import Testing

@Suite struct FaultPlanTests {
  private static let ioError = BlockError(.io, "", errno: .ioError)

  /// For each of `count` writes to sectors 0, 1, … whether it failed.
  private func failures(of count: Int, _ faults: FaultPlan) throws -> [Bool] {
    try withDisk(SparseImage(length: count * Sector.size), faults: faults) { disk in
      var failed: [Bool] = []
      for sector in 0..<count {
        do {
          try await disk.fill(1, sector: sector)
          failed.append(false)
        } catch {
          failed.append(true)
        }
      }
      #expect(disk.faultCount == failed.count { $0 })
      return failed
    }
  }

  @Test func theNthOperationFailsOnceSeveralTimesOrForEver() throws {
    #expect(
      try failures(of: 4, .failing([.write], nth: 2)) == [false, true, false, false])
    #expect(
      try failures(of: 4, .failing([.write], nth: 2, times: 2)) == [false, true, true, false])
    #expect(
      try failures(of: 4, .failing([.write], nth: 2, times: .max)) == [false, true, true, true])
    #expect(try failures(of: 2, .failing([.read, .sync], nth: 1)) == [false, false])
  }

  @Test func onlyOperationsInTheRangeCount() throws {
    let faults = FaultPlan([.init([.write], in: ByteRange(1024, 2048), nth: 2)])
    #expect(try failures(of: 5, faults) == [false, false, false, true, false])
  }

  @Test func aFailedWriteIsNotSeenButMayBeThereAfterACrashUntilASync() throws {
    try withDisk(SparseImage(sectors: [1]), faults: .failing([.write], nth: 1)) { disk in
      await #expect(throws: Self.ioError) { try await disk.fill(2, sector: 0) }
      #expect(disk.visibleImage.sectorValues == [1])
      #expect(Set(disk.crashStates(seed: 1).map(\.image.sectorValues)) == [[1], [2]])
      try await disk.sync()
      #expect(disk.crashStates(seed: 1).map(\.image.sectorValues) == [[1]])
    }
  }

  @Test func aShortWriteLeavesItsFirstSectors() throws {
    let faults = FaultPlan([.init([.write], writtenBytes: 1500)])
    try withDisk(SparseImage(sectors: [1, 1, 1, 1]), faults: faults) { disk in
      await #expect(throws: Self.ioError) { try await disk.fill(2, sector: 0, sectors: 4) }
      #expect(disk.visibleImage.sectorValues == [2, 2, 1, 1])
      #expect(disk.crashStates(seed: 1).count == 16)
      try await disk.sync()
      #expect(disk.crashStates(seed: 1).map(\.image.sectorValues) == [[2, 2, 1, 1]])
    }
  }

  @Test func aFullDiskTakesWhatFitsAndOverwritesWhatItHas() throws {
    let block = SparseImage.blockSize
    try withDisk(faults: FaultPlan(capacity: 2 * block)) { disk in
      try await disk.fill(1, sector: 0)
      await #expect(throws: BlockError(.noSpace, "", errno: .noSpace)) {
        try await disk.fill(2, sector: 0, sectors: 3 * block / Sector.size)
      }
      #expect(disk.length == 2 * block)
      #expect(disk.visibleImage.allocatedBytes == 2 * block)
      try await disk.fill(3, sector: 0, sectors: 2 * block / Sector.size)
      try await disk.discard(ByteRange(0, block))
      try await disk.fill(4, sector: 2 * block / Sector.size)  // the hole's space is used again
      #expect(disk.faultCount == 1)
    }
  }

  @Test func readsAndSyncsFailAsTold() throws {
    var plan = FaultPlan.failing([.read], nth: 2, errno: .badFileDescriptor)
    plan.faults.append(.init([.sync]))
    try withDisk(SparseImage(sectors: [1]), faults: plan) { disk in
      _ = try await disk.bytes(ByteRange(0, 512))
      await #expect(throws: BlockError(.io, "", errno: .badFileDescriptor)) {
        _ = try await disk.bytes(ByteRange(0, 512))
      }
      await #expect(throws: Self.ioError) { try await disk.sync() }
      try await disk.sync()
      #expect(disk.count(of: [.read]) == 2 && disk.count(of: .everything) == 4)
    }
  }

  @Test func operationsTakeVirtualTime() throws {
    var latency = FaultPlan.Latency(nanoseconds: 0...0)
    latency[.sync] = 3_000_000...3_000_000
    latency[.write] = 1000...2000
    let world = World.simulated(seed: 1)
    let disk = SimulatedDisk(in: world, faults: FaultPlan(latency: latency))
    try world.runBlocking {
      try await disk.fill(1, sector: 0)
      #expect((1000...2000).contains(world.now.nanoseconds))
      try await disk.sync()
      #expect((3_001_000...3_002_000).contains(world.now.nanoseconds))
    }
  }

  @Test func oneSeedRepeatsARunWithFaultsExactly() throws {
    func trace(_ seed: UInt64) throws -> (SimulationTrace?, UInt64) {
      let world = World.simulated(seed: seed)
      let faults = FaultPlan(
        [.init(.everything, nth: 9, times: 3)], latency: .init(nanoseconds: 10...900))
      let disk = SimulatedDisk(SparseImage(length: 8192), in: world, faults: faults)
      world.runBlocking {
        await withTaskGroup(of: Void.self) { group in
          for lane in 0..<4 {
            group.addTask {
              for value in 1...6 as ClosedRange<UInt8> {
                do {
                  try await disk.fill(value, sector: (Int(value) * 3 + lane) % 16)
                  if value == 3 { try await disk.sync() }
                } catch {
                  world.record("lane \(lane) failed: \(error)")
                }
              }
            }
          }
        }
      }
      return (world.trace, disk.visibleImage.signature)
    }
    let first = try trace(5)
    #expect(try trace(5) == first)
    #expect(try trace(6).0 != first.0)
  }
}
