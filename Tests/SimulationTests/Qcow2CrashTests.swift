import BlockTestKit
import Execution
import Primitives
import Testing

/// The engine on a disk that forgets: whatever a crash leaves, the image opens, nothing flushed is
/// lost, nothing but space leaks, and bitmaps are right or flagged.
@Suite struct Qcow2CrashTests {
  @Test(arguments: SimulationBudget.seeds)
  func aCrashAtAnyMomentLeavesAConsistentImageWithAllThatWasFlushed(seed: UInt64) throws {
    _ = try crashEverywhere(CrashScenario(seed: seed), SimulationBudget.crashPlan)
  }

  @Test(arguments: SimulationBudget.seeds.prefix(SimulationBudget.isLong ? 20 : 2))
  func aCrashWhileTheRefcountTableMovesLeavesTheOldOrTheNew(seed: UInt64) throws {
    let moments = try crashEverywhere(
      .nearlyFullRefcountTable(seed: seed), SimulationBudget.largeImagePlan)
    let places = moments.map { moment in
      moment.point.durable.bytes(ByteRange(48, 60))
    }
    #expect(Set(places).count == 2, "seed \(seed): the refcount table did not move")
  }

  @Test(arguments: SimulationBudget.seeds.prefix(SimulationBudget.isLong ? 100 : 8))
  func aFlushAtAnyMomentOfAWriteMakesDurableWhatIsRightByItself(seed: UInt64) throws {
    let plan = SimulationBudget.isLong ? SimulationBudget.crashPlan : .brief(maximum: 5)
    // Others look at how it goes on; these have many moments.
    _ = try crashEverywhere(.flushedAlways(seed: seed), plan, goesOn: false)
  }

  @Test(arguments: SimulationBudget.seeds.prefix(SimulationBudget.isLong ? 50 : 10))
  func aCrashWhileAnImageIsMadeLeavesNoImageOrAWholeOne(seed: UInt64) throws {
    let scenario = CrashScenario(seed: seed)
    let world = World.simulated(seed: seed)
    let disk = SimulatedDisk(in: world)
    let points = CrashPointList()
    disk.observe { [weak disk] operation, phase in
      if phase == .completing, operation != .read, let disk { points.add(disk.crashPoint()) }
    }
    try world.runBlocking { try await ImageFixture.create(scenario.imageOptions, on: disk) }
    for point in points.all {
      for state in point.states(SimulationBudget.crashPlan, seed: seed) {
        let isImage = state.image.bytes(ByteRange(0, 4)) == [0x51, 0x46, 0x49, 0xfb]
        guard isImage else { continue }
        #expect(ImageAudit(state.image).corruptions == [], "\(scenario), \(state)")
      }
    }
    #expect(disk.pending.isEmpty && ImageAudit(disk.durableImage).corruptions == [])
  }

  @Test func oneSeedGivesTheSameRunAndTheSameCrashStates() throws {
    func signatures() throws -> [[UInt64]] {
      let run = CrashRun(CrashScenario(seed: 3))
      return try run.run().map { $0.point.states(.brief(), seed: 3).map(\.signature) }
    }
    #expect(try signatures() == signatures())
  }

  @Test(.enabled(if: SimulationBudget.isLong, "only with LAMINA_SIMULATE=1"))
  func theLongRunLooksAtTwentyThousandStates() throws {
    let states = try SimulationBudget.seeds.reduce(0) { sum, seed in
      try CrashRun(CrashScenario(seed: seed)).run().reduce(sum) {
        $0 + $1.point.states(SimulationBudget.crashPlan, seed: seed).count
      }
    }
    print("crash states of all \(SimulationBudget.seeds.count) seeds: \(states)")
    #expect(states >= 20_000 || SimulationBudget.seeds.count < 200)
  }

  // MARK: - Crashing

  private func crashEverywhere(
    _ scenario: CrashScenario, _ plan: CrashPlan, goesOn: Bool = true
  ) throws -> [CrashMoment] {
    let run = CrashRun(scenario)
    let moments = try run.run()
    #expect(run.problems == [], "\(scenario)")
    #expect(moments.count > 2, "\(scenario): a run without syncs")
    var count = 0
    for (number, moment) in moments.enumerated() {
      let states = moment.point.states(plan, seed: scenario.seed)
      count += states.count
      let problem = firstProblem(of: states, at: moment, scenario, goesOn)
      #expect(problem == nil, "\(scenario); crash \(number + 1) of \(moments.count)")
      if problem != nil { break }
    }
    SimulationBudget.count(crashStates: count, of: scenario)
    return moments
  }

  /// What is wrong with the first state that does not recover, and which it is.
  private func firstProblem(
    of states: CrashStates, at moment: CrashMoment, _ scenario: CrashScenario, _ goesOn: Bool
  ) -> String? {
    let world = World.simulated(seed: scenario.seed, stepLimit: .max)
    let recovery = Recovery(scenario: scenario, world: world)
    return world.runBlocking {
      for (index, state) in states.enumerated() {
        let problem = await recovery.problem(
          of: state, moment.expectation, goesOn: goesOn && index % 16 == 0)
        if let problem { return "\(problem) [state \(index): \(state)]" }
      }
      return nil
    }
  }
}
