import BlockTestKit
import Foundation
import Synchronization

/// How far the simulations go: a little in every test run, far with `LAMINA_SIMULATE=1`; chosen
/// seeds alone with `LAMINA_SEED=N,M`.
enum SimulationBudget {
  private static let environment = ProcessInfo.processInfo.environment

  /// Whether this is the long run.
  static let isLong = SimulationSeeds.isLong(environment)

  /// The seeds of one scenario.
  static let seeds = SimulationSeeds.chosen(by: environment)

  /// The crash states of one moment.
  static let crashPlan: CrashPlan =
    isLong
    ? CrashPlan(exhaustiveBits: 6, cutsPerOperation: 4, subsetsPerProbability: 6, maximum: 40)
    : .brief(maximum: 6)

  /// The crash states of one moment of an image of megabytes.
  static let largeImagePlan: CrashPlan = .brief(maximum: isLong ? 20 : 3)

  private static let crashStates = Mutex(0)

  /// Counts crash states that were looked at; the long run prints the sum as it grows.
  static func count(crashStates count: Int, of scenario: CrashScenario) {
    let sum = crashStates.withLock { sum in
      sum += count
      return sum
    }
    if isLong { print("\(sum) crash states, \(count) of \(scenario)") }
  }
}
