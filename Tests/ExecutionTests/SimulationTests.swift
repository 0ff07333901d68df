import Execution
import Testing

@Suite struct SimulationTests {
  @Test(arguments: [0, 1, 42, UInt64.max])
  func oneSeedGivesOneTrace(seed: UInt64) throws {
    let first = try #require(Scenario.trace(seed: seed))
    let second = try #require(Scenario.trace(seed: seed))
    #expect(first == second, "seed \(seed)")
    #expect(first.events == second.events, "seed \(seed)")
    #expect(first.decisions == second.decisions, "seed \(seed)")
    #expect(first.steps > 200)
  }

  @Test func anotherSeedGivesAnotherTrace() {
    let hashes = Set((0..<50).map { Scenario.trace(seed: $0)?.hash })
    #expect(hashes.count == 50)
  }

  @Test func theTraceIsTheSameWhoeverDrives() async throws {
    let seed: UInt64 = 5
    let body: @Sendable (World) async -> Void = { world in
      await withTaskGroup(of: Void.self) { group in
        for worker in 0..<9 {
          group.addTask {
            await world.yield()
            world.record("\(worker)")
          }
        }
      }
    }
    let driven = World.simulated(seed: seed)
    driven.runBlocking { await body(driven) }
    let awaited = World.simulated(seed: seed)
    await awaited.run { await body(awaited) }
    #expect(driven.trace == awaited.trace)
  }

  @Test func sleepingThreeHundredSecondsTakesNoTime() {
    let world = World.simulated(seed: 1)
    let clock = ContinuousClock()
    let elapsed = clock.measure {
      world.runBlocking {
        await withTaskGroup(of: Void.self) { group in
          for sleeper in 1...10 {
            group.addTask {
              for _ in 0..<30 { await world.sleep(nanoseconds: UInt64(sleeper) * 1_000_000_000) }
            }
          }
        }
      }
    }
    #expect(world.now.nanoseconds == 300_000_000_000)
    #expect(elapsed < .seconds(5), "a virtual sleep cost real time: \(elapsed)")
  }

  @Test func sleepersWakeInTheOrderOfTheirDeadlines() throws {
    let world = World.simulated(seed: 3)
    world.runBlocking {
      await withTaskGroup(of: Void.self) { group in
        for delay: UInt64 in [50, 10, 40, 20, 30] {
          group.addTask {
            await world.sleep(nanoseconds: delay)
            world.record("\(delay) at \(world.now.nanoseconds)")
          }
        }
      }
    }
    let texts = try #require(world.trace).events.map(\.text)
    #expect(texts == ["10 at 10", "20 at 20", "30 at 30", "40 at 40", "50 at 50"])
  }

  @Test func everyOrderOfThreeTasksIsReachedBySomeSeed() {
    let orders = (0..<100 as Range<UInt64>).map { seed in
      let world = World.simulated(seed: seed)
      world.runBlocking {
        await withTaskGroup(of: Void.self) { group in
          for name in ["a", "b", "c"] {
            group.addTask {
              await world.yield()
              world.record(name)
            }
          }
        }
      }
      return (world.trace?.events ?? []).map(\.text).joined()
    }
    #expect(Set(orders) == ["abc", "acb", "bac", "bca", "cab", "cba"])
  }

  @Test func aLabelNamesAStreamOfItsOwn() {
    let world = World.simulated(seed: 8)
    var disk = world.makeRandom("disk")
    var again = world.makeRandom("disk")
    var guest = world.makeRandom("guest")
    let numbers = (0..<8).map { _ in disk.next() }
    #expect(numbers == (0..<8).map { _ in again.next() })
    #expect(numbers != (0..<8).map { _ in guest.next() })
    var other = World.simulated(seed: 9).makeRandom("disk")
    #expect(numbers != (0..<8).map { _ in other.next() })
  }

  @Test func spawnedWorkIsDrivenByWhoWaitsForIt() async {
    let world = World.simulated(seed: 2)
    let task = world.spawn {
      await world.sleep(nanoseconds: 1_000)
      world.record("done")
    }
    #expect(world.trace?.steps == 0)
    await task.wait()
    #expect(world.trace?.events.map(\.text) == ["done"])
    #expect(world.now.nanoseconds == 1_000)
  }

  @Test func shutdownOfASimulatedWorldRunsWhatIsLeft() {
    let world = World.simulated(seed: 2)
    for index in 0..<5 {
      world.spawn {
        await world.sleep(nanoseconds: 10)
        world.record("\(index)")
      }
    }
    world.shutdown()
    #expect(world.trace?.events.count == 5)
  }
}
