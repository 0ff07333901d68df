import BlockTestKit
import Execution
import Synchronization
import Testing

/// Every short sequence of steps on a small image, crashed at every sync of its last step and of
/// closing: most errors of ordering show within three steps.
@Suite struct ExhaustiveWorkloadTests {
  /// The sequences in parts, so that they run in parallel: each part has one first step.
  static let parts = WorkloadStep.allCases.indices

  @Test(arguments: WorkloadSetting.all)
  func everyStepByItselfSurvivesACrash(setting: WorkloadSetting) throws {
    for step in WorkloadStep.allCases { try crash(setting, [step], .brief(maximum: 40)) }
  }

  @Test(arguments: parts)
  func everyPairOfStepsSurvivesACrash(first: Int) throws {
    for (second, step) in WorkloadStep.allCases.enumerated() {
      let pair = [WorkloadStep.allCases[first], step]
      let settings = WorkloadSetting.all
      // Every day one sort of image a pair, and each sort in turn.
      let chosen =
        SimulationBudget.isLong ? settings : [settings[(first + second) % settings.count]]
      for setting in chosen {
        try crash(setting, pair, .brief(maximum: SimulationBudget.isLong ? 40 : 6))
      }
    }
  }

  @Test(
    .enabled(if: SimulationBudget.isLong, "only with LAMINA_SIMULATE=1"),
    arguments: parts)
  func everyTripleOfStepsSurvivesACrash(first: Int) throws {
    let all = WorkloadStep.allCases
    let settings = WorkloadSetting.all
    for (second, middle) in all.enumerated() {
      for (third, last) in all.enumerated() {
        let setting = settings[(first + second + third) % settings.count]
        try crash(setting, [all[first], middle, last], .brief(maximum: 12))
      }
    }
    print("\(Self.states.withLock { $0 }) crash states of exhaustive workloads")
  }

  // MARK: - Crashing

  private static let states = Mutex(0)

  private func crash(
    _ setting: WorkloadSetting, _ steps: [WorkloadStep], _ plan: CrashPlan
  ) throws {
    let run = WorkloadRun(setting, steps)
    let name = "\(setting): \(steps.map(\.rawValue).joined(separator: ", "))"
    let moments = try run.run()
    #expect(run.failures == [], "\(name)")
    let judge = WorkloadJudge(setting: setting, base: run.backing, world: run.world)
    var seen: Set<UInt64> = []
    let problem = run.world.runBlocking { () async -> String? in
      for (number, moment) in moments.enumerated() {
        for (index, state) in moment.point.states(plan, seed: 1).enumerated() {
          // The same disk with the same allowed states has been looked at.
          guard seen.insert(state.signature &+ UInt64(moment.states.count)).inserted else {
            continue
          }
          Self.states.withLock { $0 += 1 }
          let problem = await judge.problem(
            of: state.image, moment.states, goesOn: index % 8 == 0)
          if let problem {
            return "\(problem) [crash \(number + 1) of \(moments.count), state \(index): \(state)]"
          }
        }
      }
      return nil
    }
    #expect(problem == nil, "\(name)")
  }
}
