import BlockTestKit
import Execution
import Primitives
import Testing

@Suite struct CrashStatesTests {
  /// A disk on which each of `count` single-sector writes has its own sector.
  private func point(singleSectorWrites count: Int) throws -> CrashPoint {
    try withDisk(SparseImage(length: count * Sector.size)) { disk in
      for sector in 0..<count { try await disk.fill(UInt8(sector + 1), sector: sector) }
      return disk.crashPoint()
    }
  }

  private var patternsOnly: CrashPlan { CrashPlan(subsetsPerProbability: 0) }

  @Test(arguments: [0, 1, 3, 8, 12])
  func fewChangesAreEnumeratedWhole(count: Int) throws {
    let states = try point(singleSectorWrites: count).states(seed: 1)
    #expect(states.count == 1 << count)
    #expect(Set(states.map(\.signature)).count == states.count)
  }

  @Test func thirteenChangesAreEnumeratedByPatterns() throws {
    let states = try point(singleSectorWrites: 13).states(patternsOnly, seed: 1)
    // Nothing, everything, 13 alone, 78 pairs, 13 left out, and the 9 prefixes of 3 to 11: those
    // of 1, 2 and 12 have been counted.
    #expect(states.count == 2 + 13 + 78 + 13 + 9)
  }

  @Test func versionsOfASectorMultiply() throws {
    let point = try withDisk(SparseImage(sectors: [1, 1, 1])) { disk in
      for value in 2...4 as ClosedRange<UInt8> { try await disk.fill(value, sector: 0) }
      for value in 2...3 as ClosedRange<UInt8> { try await disk.fill(value, sector: 1) }
      try await disk.fill(9, sector: 2, sectors: 1)
      return disk.crashPoint()
    }
    #expect(point.states(seed: 1).count == 4 * 3 * 2)
  }

  @Test func writingWhatIsThereMakesNoState() throws {
    let point = try withDisk(SparseImage(sectors: [1, 1])) { disk in
      try await disk.fill(1, sector: 0, sectors: 2)
      return disk.crashPoint()
    }
    #expect(point.pending.count == 1)
    #expect(point.states(seed: 1).count == 1)
  }

  @Test func aLongWriteIsCutAtItsBordersAndEachSectorStandsAlone() throws {
    let point = try withDisk(SparseImage(length: 20 * Sector.size)) { disk in
      try await disk.fill(1, sector: 0, sectors: 20)
      return disk.crashPoint()
    }
    let plan = CrashPlan(exhaustiveBits: 4, cutsPerOperation: 100, subsetsPerProbability: 0)
    let states = point.states(plan, seed: 1).map(\.image.sectorValues)
    // Nothing, everything, 19 cuts, 20 single sectors; the first cut is the first single sector.
    #expect(states.count == 2 + 19 + 20 - 1)
    for length in 1..<20 {
      let cut = [UInt8](repeating: 1, count: length) + [UInt8](repeating: 0, count: 20 - length)
      #expect(states.contains(cut))
    }
  }

  @Test func aLongAppendingWriteEndsWhereItIsCut() throws {
    let point = try withDisk { disk in
      try await disk.fill(1, sector: 0, sectors: 20)
      return disk.crashPoint()
    }
    let plan = CrashPlan(exhaustiveBits: 4, cutsPerOperation: 100, subsetsPerProbability: 0)
    let states = Set(point.states(plan, seed: 1).map(\.image.sectorValues))
    for length in 1..<20 { #expect(states.contains([UInt8](repeating: 1, count: length))) }
    #expect(states.contains([]))
    #expect(states.contains([UInt8](repeating: 0, count: 20)))  // the length, and no data
  }

  @Test func signaturesTellImagesApartAndCountZerosOnce() throws {
    let world = World.simulated(seed: 11)
    var random = world.makeRandom("bytes")
    let disk = SimulatedDisk(SparseImage(length: 1000), in: world)
    let point = try world.runBlocking {
      for _ in 0..<9 {
        let offset = Int.random(in: 0..<3000, using: &random)
        let count = Int.random(in: 1..<1500, using: &random)
        let bytes = (0..<count).map { _ in UInt8.random(in: 0...1, using: &random) }
        try await disk.write(ByteRange(offset: offset, count: count), from: bytes.span.bytes)
      }
      try await disk.resize(to: 1700)
      try await disk.discard(ByteRange(512, 1100))
      return disk.crashPoint()
    }
    let states = point.states(CrashPlan(exhaustiveBits: 8), seed: 1)
    #expect(states.count > 100)
    for state in states {
      #expect(state.signature == state.image.signature, "\(state)")
      #expect(state.image.signature == SparseImage(state.image.bytes).signature, "\(state)")
    }
    #expect(states[1].image == point.visible)
    #expect(states[0].image == point.durable)
  }

  @Test func theMaximumKeepsNothingAndEverything() throws {
    let point = try point(singleSectorWrites: 10)
    var plan = CrashPlan()
    plan.maximum = 30
    let states = point.states(plan, seed: 5)
    #expect(states.count == 30)
    #expect(states[0].image == point.durable)
    #expect(states[1].image == point.visible)
  }

  @Test func oneSeedGivesTheSameStatesAndAnotherGivesOthers() throws {
    let point = try point(singleSectorWrites: 40)
    let plan = CrashPlan(maximum: 100)
    let signatures = { (seed: UInt64) in point.states(plan, seed: seed).map(\.signature) }
    #expect(signatures(7) == signatures(7))
    #expect(signatures(7) != signatures(8))
  }

  @Test func aStateSaysWhichOperationsAreThere() throws {
    let point = try withDisk(SparseImage(length: 4 * Sector.size)) { disk in
      try await disk.fill(1, sector: 0)
      try await disk.fill(2, sector: 1, sectors: 3)
      return disk.crashPoint()
    }
    let texts = point.states(seed: 1).map(\.description)
    #expect(
      texts.contains(
        "there: #1 write 0x0..<0x200; torn: #2 write 0x200..<0x800: 2 of 3 sectors; length 2048"))
    #expect(
      texts.contains(
        "lost or overwritten: #1 write 0x0..<0x200, #2 write 0x200..<0x800; length 2048"))
  }
}
