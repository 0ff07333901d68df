import Execution
import Testing

@Suite struct TwoProcessesTests {
  @Test(arguments: [7, 1_000_003 as UInt64])
  func oneSeedGivesOneTraceInTwoProcesses(seed: UInt64) async throws {
    let first = try await hashFromAnotherProcess(seed: seed)
    let second = try await hashFromAnotherProcess(seed: seed)
    let here = try #require(Scenario.trace(seed: seed))
    #expect(first == second, "seed \(seed)")
    #expect(first == "trace \(here.steps) \(here.hash)", "seed \(seed)")
  }

  /// Shows that the comparison above can fail: the order of a set differs between processes.
  @Test func theOrderOfASetShowsAsTwoTraces() async throws {
    let first = try await setOrderFromAnotherProcess()
    let second = try await setOrderFromAnotherProcess()
    #expect(first != second)
  }

  private func hashFromAnotherProcess(seed: UInt64) async throws -> String {
    let result = try await #require(
      processExitsWith: .success, observing: [\.standardOutputContent]
    ) { [seed] in
      let trace = try #require(Scenario.trace(seed: seed))
      print("trace \(trace.steps) \(trace.hash)")
    }
    return try line(result.standardOutputContent)
  }

  private func setOrderFromAnotherProcess() async throws -> String {
    let result = try await #require(
      processExitsWith: .success, observing: [\.standardOutputContent]
    ) {
      let world = World.simulated(seed: 1)
      world.runBlocking {
        for element in Set(0..<64) { world.record("\(element)") }
      }
      print("trace \(world.trace?.hash ?? 0)")
    }
    return try line(result.standardOutputContent)
  }

  private func line(_ output: [UInt8]) throws -> String {
    let lines = String(decoding: output, as: UTF8.self).split(separator: "\n")
    return String(try #require(lines.first { $0.hasPrefix("trace ") }))
  }
}
