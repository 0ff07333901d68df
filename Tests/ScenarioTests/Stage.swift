import Foundation
import LaminaTestKit
import SystemPackage
import Testing

/// Where a scenario is played.
enum Stage: CaseIterable, CustomTestStringConvertible {
  /// In real files, on threads, by drive-backup; the guest rests while jobs run.
  case files
  /// On memory disks, on threads, by blockdev-backup; the guest rests while jobs run.
  case memory
  /// On memory disks in a simulated World, one for each seed, by either command, with a guest that
  /// never rests.
  case simulation

  var testDescription: String { "\(self)" }

  static let seeds = SimulationSeeds.chosen(by: ProcessInfo.processInfo.environment)

  /// Plays a scenario in a lab of its own, for each seed.
  func play(_ scenario: @escaping @Sendable (Scene) async throws -> Void) async throws {
    switch self {
    case .files:
      let folder = FileManager.default.temporaryDirectory.path()
      try await play(.files(in: FilePath(folder)), .threaded(), .driveBackup, scenario)
    case .memory:
      try await play(.memory, .threaded(), .blockdevBackup, scenario)
    case .simulation:
      for seed in Self.seeds {
        let command: BackupLab.Command = seed % 2 == 0 ? .driveBackup : .blockdevBackup
        try await play(.memory, .simulated(seed: seed), command, scenario)
      }
    }
  }

  /// Expects that a failure that was planted struck the job: always without a guest, and with one
  /// for some seed at least, if there are many.
  func expectFailures(_ count: Int) {
    switch self {
    case .files, .memory: #expect(count == 1)
    case .simulation: #expect(count > 0 || Self.seeds.count < 20)
    }
  }

  private func play(
    _ place: ImageStore.Place, _ world: World, _ command: BackupLab.Command,
    _ scenario: @escaping @Sendable (Scene) async throws -> Void
  ) async throws {
    do {
      try await BackupLab.run(place, in: world, command: command) { lab in
        try await scenario(Scene(lab: lab, hasGuest: self == .simulation))
        try lab.checkAtRest()
      }
    } catch {
      Issue.record("seed \(world.seed): \(error)")
    }
  }
}
