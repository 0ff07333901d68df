import Execution
import Synchronization
import Testing

@Suite struct DrainTests {
  @Test(arguments: 0..<20 as Range<UInt64>)
  func aDrainWaitsForWhatIsInFlightAndHoldsBackTheRest(seed: UInt64) {
    let world = World.simulated(seed: seed)
    let gate = AsyncGate()
    let inFlight = InFlightCounter()
    let isDrained = Tally()
    world.runBlocking {
      await withTaskGroup(of: Void.self) { group in
        for worker in 0..<6 {
          group.addTask {
            var random = world.makeRandom("worker \(worker)")
            for _ in 0..<20 {
              await gate.pass()
              inFlight.enter()
              #expect(isDrained.value == 0, "seed \(seed)")
              await world.sleep(nanoseconds: UInt64.random(in: 0..<9, using: &random))
              #expect(isDrained.value == 0, "seed \(seed)")
              inFlight.leave()
            }
          }
        }
        for _ in 0..<5 {
          await world.sleep(nanoseconds: 13)
          gate.close()
          await inFlight.waitUntilIdle()
          isDrained.value = 1
          #expect(inFlight.count == 0, "seed \(seed)")
          await world.sleep(nanoseconds: 20)
          isDrained.value = 0
          gate.open()
        }
      }
    }
    #expect(inFlight.count == 0)
  }

  @Test func aGateOpensWithTheLastOfItsOpenings() {
    let world = World.simulated(seed: 1)
    let gate = AsyncGate()
    world.runBlocking {
      gate.close()
      gate.close()
      let passing = world.spawn {
        await gate.pass()
        world.record("passed")
      }
      await world.sleep(nanoseconds: 1)
      gate.open()
      await world.sleep(nanoseconds: 1)
      #expect(!gate.isOpen)
      world.record("last")
      gate.open()
      await passing.wait()
    }
    #expect(world.trace?.events.map(\.text) == ["last", "passed"])
  }

  @Test func onThreadsADrainSeesNothingInFlight() async {
    let world = World.threaded(threads: 4)
    let gate = AsyncGate()
    let inFlight = InFlightCounter()
    let flags = Flags()
    await world.run {
      await withTaskGroup(of: Void.self) { group in
        for _ in 0..<4 {
          group.addTask {
            while !flags.isOver.load(ordering: .relaxed) {
              repeat {
                await gate.pass()
                inFlight.enter()
                if gate.isOpen { break }
                inFlight.leave()
              } while true
              let isDrained = flags.isDrained.load(ordering: .acquiring)
              #expect(!isDrained)
              await world.yield()
              inFlight.leave()
            }
          }
        }
        for _ in 0..<200 {
          gate.close()
          await inFlight.waitUntilIdle()
          // Who came too late is counted for an instant, but works on nothing.
          flags.isDrained.store(true, ordering: .releasing)
          await world.yield()
          flags.isDrained.store(false, ordering: .releasing)
          gate.open()
          await world.yield()
        }
        flags.isOver.store(true, ordering: .relaxed)
      }
    }
    #expect(inFlight.count == 0)
  }

  @Test func onThreadsNoWakeUpIsLost() async {
    let world = World.threaded(threads: 4)
    await world.run {
      for _ in 0..<300 {
        let inFlight = InFlightCounter()
        for _ in 0..<4 { inFlight.enter() }
        await withTaskGroup(of: Void.self) { group in
          for _ in 0..<4 { group.addTask { inFlight.leave() } }
          group.addTask { await inFlight.waitUntilIdle() }
          await inFlight.waitUntilIdle()
        }
        #expect(inFlight.count == 0)
      }
    }
  }
}

private final class Flags: Sendable {
  let isDrained = Atomic(false)
  let isOver = Atomic(false)
}
