import Execution
import Primitives
import Testing

/// A programmer's mistakes end the process with a message, in release builds too.
@Suite struct MistakeTests {
  @Test func runBlockingOnAWorldThreadIsRefused() async throws {
    let result = try await #require(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let world = World.threaded(threads: 2)
      await world.run { blockingly(world) }
    }
    #expect(text(result).contains("runBlocking was called on a World's own thread"))
  }

  @Test func runBlockingInsideOfASimulationIsRefused() async throws {
    let result = try await #require(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let world = World.simulated(seed: 1)
      world.runBlocking { blockingly(world) }
    }
    #expect(text(result).contains("runBlocking was called on a World's own thread"))
  }

  @Test func aDeadlockedSimulationNamesItsSeedAndItsLastEvents() async throws {
    let result = try await #require(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let world = World.simulated(seed: 4711)
      let mutex = AsyncMutex()
      world.runBlocking {
        await mutex.lock()
        world.record("locked once")
        await mutex.lock()
      }
    }
    #expect(text(result).contains("deadlock in a simulated World"))
    #expect(text(result).contains("seed 4711"))
    #expect(text(result).contains("locked once"))
  }

  @Test func aSimulationThatNeverEndsMeetsItsStepLimit() async throws {
    let result = try await #require(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let world = World.simulated(seed: 99, stepLimit: 1_000)
      world.runBlocking { while true { await world.yield() } }
    }
    #expect(text(result).contains("more steps than its limit"))
    #expect(text(result).contains("seed 99, 1000 steps"))
  }

  @Test func aTaskThatLeavesTheSimulationIsCaught() async throws {
    let result = try await #require(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let world = World.simulated(seed: 6)
      world.runBlocking {
        let outside = Task.detached { await world.sleep(nanoseconds: 5) }
        while !outside.isCancelled { await world.yield() }
      }
    }
    #expect(text(result).contains("something outside of the simulated World (seed 6)"))
  }

  @Test func aTaskOfASimulationCannotEnterAnotherWorld() async throws {
    let result = try await #require(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let world = World.simulated(seed: 12)
      let other = World.threaded(threads: 1)
      world.runBlocking { await other.run {} }
    }
    #expect(text(result).contains("a task of a simulated World (seed 12) entered another World"))
  }

  @Test func beingOutsideOfItsWorldIsToldByPreconditionCurrent() async throws {
    let result = try await #require(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let one = World.threaded(threads: 1)
      let other = World.threaded(threads: 1)
      await one.run { other.preconditionCurrent("nodes of two Worlds were mixed") }
    }
    #expect(text(result).contains("nodes of two Worlds were mixed"))
  }

  @Test func aWorldThatWasShutDownTakesNoWork() async throws {
    let result = try await #require(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let world = World.threaded(threads: 1)
      world.shutdown()
      await world.run {}
    }
    #expect(text(result).contains("work was started on a World that has been shut down"))
  }

  @Test func unlockingAFreeMutexIsRefused() async throws {
    let result = try await #require(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) { AsyncMutex().unlock() }
    #expect(text(result).contains("was unlocked that was not locked"))
  }

  @Test func givingARangeBackTwiceIsRefused() async throws {
    let result = try await #require(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let lock = RangeLock()
      guard let token = lock.tryLock(.init(0, 512)) else { return }
      lock.unlock(token)
      lock.unlock(token)
    }
    #expect(text(result).contains("0x0..<0x200"))
  }

  private func text(_ result: ExitTest.Result) -> String {
    String(decoding: result.standardErrorContent, as: UTF8.self)
  }
}

/// Plain synchronous code that somebody called from inside of a World.
private func blockingly(_ world: World) { world.runBlocking {} }
