import BlockTestKit
import Execution
import Testing

/// Every step of the workloads on a disk whose N-th operation fails, counted from its beginning on,
/// for every N: an error is told, or nothing is lost; the image is the old one or the new one.
@Suite struct WorkloadFaultTests {
  @Test(arguments: WorkloadStep.allCases.indices)
  func whicheverOperationOfAStepFailsTheImageIsInAnAllowedState(number: Int) throws {
    let step = WorkloadStep.allCases[number]
    let settings = WorkloadSetting.all
    let isLong = SimulationBudget.isLong
    // Every day one sort of image a step and a failure.
    for (kind, failure) in DiskFailure.allCases.enumerated() {
      for setting in isLong ? settings : [settings[(number + kind) % settings.count]] {
        // Some of the metadata is in memory alone when the step begins, or none is.
        for steps in isLong ? [[step], [.writeCrossing, step]] : [[.writeCrossing, step]] {
          try fail(setting, steps, failure, first: isLong ? 1 : 1 + (number + kind) % 5)
        }
      }
    }
  }

  // MARK: - Failing

  private func fail(
    _ setting: WorkloadSetting, _ steps: [WorkloadStep], _ failure: DiskFailure, first: Int
  ) throws {
    var nth = first
    while true {
      let run = WorkloadRun(setting, steps, faults: failure.plan(nth: nth))
      let moments = try run.run()
      guard run.disk.faultCount > 0 else { return }
      let name =
        "\(setting): \(steps.map(\.rawValue).joined(separator: ", ")); \(failure) at \(nth)"
      #expect(silence(moments, run) == nil, "\(name): \(run.struck) and nothing was told")
      let problem = problem(moments, run)
      #expect(problem == nil, "\(name); struck \(run.struck), told \(run.failures)")
      nth += SimulationBudget.isLong ? 1 : 5
    }
  }

  /// What is wrong with it that nothing was told of what failed; nil if something was.
  ///
  /// Discards are hints. Refcounts and tables that are read to give clusters up, when a change is
  /// durable already, are read again by the next write-back, or their space is lost. Anything else
  /// has to be told.
  private func silence(_ moments: [WorkloadRun.Moment], _ run: WorkloadRun) -> String? {
    guard run.failures.isEmpty, let last = moments.last else { return nil }
    let hasLeaks = ImageAudit(last.point.visible).leaks > 0
    switch Set(run.struck) {
    case [.discard]: return hasLeaks ? "a hint failed, and space is lost" : nil
    case [.read]: return nil
    default: return "more than a hint or a read failed"
    }
  }

  /// What is wrong with what the program leaves when it ends, or a crash at the last moments.
  private func problem(_ moments: [WorkloadRun.Moment], _ run: WorkloadRun) -> String? {
    let judge = WorkloadJudge(setting: run.setting, base: run.backing, world: run.world)
    return run.world.runBlocking {
      guard let last = moments.last else { return "the run took down no moment" }
      if let problem = await judge.problem(of: last.point.visible, last.states, goesOn: true) {
        return "\(problem) [as the program left it]"
      }
      for moment in moments.suffix(SimulationBudget.isLong ? 3 : 1) {
        for state in moment.point.states(.brief(maximum: SimulationBudget.isLong ? 8 : 2), seed: 1)
        {
          let problem = await judge.problem(of: state.image, moment.states, goesOn: false)
          if let problem { return "\(problem) [\(state)]" }
        }
      }
      return nil
    }
  }
}
