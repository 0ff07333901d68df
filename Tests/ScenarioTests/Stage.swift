import Foundation
import LaminaTestKit
import SystemPackage
import Testing

/// Where a scenario is played.
enum Stage: CaseIterable, CustomTestStringConvertible {
  /// In real files, on threads; the guest rests while jobs run.
  case files
  /// On memory disks, on threads; the guest rests while jobs run.
  case memory
  /// On memory disks in a simulated World, one for each seed, with a guest that never rests.
  case simulation

  var testDescription: String { "\(self)" }

  static let seeds = SimulationSeeds.chosen(by: ProcessInfo.processInfo.environment)

  /// Plays a scenario in a lab of its own, for each seed.
  func play(_ scenario: @escaping @Sendable (Scene) async throws -> Void) async throws {
    switch self {
    case .files:
      let folder = FileManager.default.temporaryDirectory.path()
      try await play(.files(in: FilePath(folder)), .threaded(), hasGuest: false, scenario)
    case .memory:
      try await play(.memory, .threaded(), hasGuest: false, scenario)
    case .simulation:
      for seed in Self.seeds {
        try await play(.memory, .simulated(seed: seed), hasGuest: true, scenario)
      }
    }
  }

  private func play(
    _ place: ImageStore.Place, _ world: World, hasGuest: Bool,
    _ scenario: @escaping @Sendable (Scene) async throws -> Void
  ) async throws {
    do {
      try await BackupLab.run(place, in: world) { lab in
        try await scenario(Scene(lab: lab, hasGuest: hasGuest))
        try lab.checkAtRest()
      }
    } catch {
      Issue.record("seed \(world.seed): \(error)")
    }
  }
}
