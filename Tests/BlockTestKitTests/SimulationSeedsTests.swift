import BlockTestKit
import Execution
import Synchronization
import Testing

/// Worlds of many seeds, and which seeds.
@Suite struct SimulationSeedsTests {
  @Test func theEnvironmentChoosesTheSeeds() {
    #expect(SimulationSeeds.chosen(by: [:], usual: 3) == [1, 2, 3])
    #expect(SimulationSeeds.chosen(by: ["LAMINA_SIMULATE": "0"], usual: 2) == [1, 2])
    #expect(SimulationSeeds.chosen(by: ["LAMINA_SIMULATE": "1"]).count == 200)
    #expect(
      SimulationSeeds.chosen(by: ["LAMINA_SIMULATE": "1", "LAMINA_SEED": "9,4,x"]) == [9, 4])
  }

  @Test func eachSeedHasAWorldOfItsOwn() async throws {
    let seen = Mutex<[UInt64]>([])
    try await simulate(seeds: [5, 7, 5]) { world in
      #expect(world.isSimulated && world.isCurrent)
      seen.withLock { $0.append(world.seed) }
    }
    #expect(seen.withLock { $0 } == [5, 7, 5])
  }
}
