import BlockTestKit
import Execution
import Primitives
import Testing

/// The engine on a disk whose N-th operation fails, for every N: requests are refused, but nothing
/// that was flushed is lost, whether the program then ends or the machine crashes.
@Suite struct FaultLoopTests {
  @Test(
    arguments: DiskFailure.allCases, SimulationBudget.seeds.prefix(SimulationBudget.isLong ? 20 : 3)
  )
  func whicheverOperationFailsNothingFlushedIsLost(failure: DiskFailure, seed: UInt64) throws {
    let scenario = CrashScenario(seed: seed)
    // The short run tries some, the others by another seed.
    var nth = 1 + Int(SimulationBudget.isLong ? 0 : seed % 4)
    var runs = 0
    while true {
      let run = CrashRun(scenario, faults: failure.plan(nth: nth))
      let moments = try run.run()
      guard run.disk.faultCount > 0 else { break }
      #expect(run.problems == [], "\(scenario); \(failure) at \(nth)")
      let problem = Self.problem(after: moments, scenario)
      #expect(problem == nil, "\(scenario); \(failure) at \(nth)")
      if problem != nil { return }
      nth += SimulationBudget.isLong ? 1 : 7
      runs += 1
    }
    #expect(runs > 0, "\(scenario); \(failure): no operation failed")
  }

  /// What is wrong with what the program leaves when it ends, or a crash at the last moments.
  private static func problem(after moments: [CrashMoment], _ scenario: CrashScenario) -> String? {
    let world = World.simulated(seed: scenario.seed, stepLimit: .max)
    let recovery = Recovery(scenario: scenario, world: world)
    return world.runBlocking {
      for moment in moments.suffix(SimulationBudget.isLong ? 3 : 1) {
        for (index, state) in moment.point.states(.brief(maximum: 4), seed: scenario.seed)
          .enumerated()
        {
          let problem = await recovery.problem(of: state, moment.expectation, goesOn: index == 0)
          if let problem { return "\(problem) [state \(index): \(state)]" }
        }
      }
      return nil
    }
  }
}
