public import Execution

/// Runs `body` in a simulated World of its own for each of `seeds`, one after the other.
///
/// A failure's seed gives the same run again: name `world.seed` in what is expected.
public func simulate<Seeds: Sequence<UInt64>>(
  seeds: Seeds, _ body: @escaping @Sendable (World) async throws -> Void
) async throws {
  for seed in seeds {
    let world = World.simulated(seed: seed)
    try await world.run { try await body(world) }
  }
}

/// The seeds of a scenario: few in every test run, many in the long ones, or those asked for.
public enum SimulationSeeds {
  /// Whether the variables of the environment ask for the long run: `LAMINA_SIMULATE=1`.
  public static func isLong(_ environment: [String: String]) -> Bool {
    environment["LAMINA_SIMULATE"] == "1"
  }

  /// The seeds that the variables of the environment ask for: `usual` of them from 1 on, `long` in
  /// the long run, and with `LAMINA_SEED=N,M` those alone.
  public static func chosen(
    by environment: [String: String], usual: UInt64 = 20, long: UInt64 = 200
  ) -> [UInt64] {
    if let list = environment["LAMINA_SEED"] {
      return list.split(separator: ",").compactMap { UInt64($0) }
    }
    return Array(1...(isLong(environment) ? long : usual))
  }
}
