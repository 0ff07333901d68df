import Execution
import Synchronization
import Testing

@Suite struct AsyncMutexTests {
  @Test(arguments: 0..<20 as Range<UInt64>)
  func whoWaitsGetsTheLockInTheOrderOfArrival(seed: UInt64) throws {
    let world = World.simulated(seed: seed)
    let mutex = AsyncMutex()
    world.runBlocking {
      await withTaskGroup(of: Void.self) { group in
        for worker in 0..<8 {
          group.addTask {
            for round in 0..<4 {
              await world.yield()
              world.record("want \(worker).\(round)")
              await mutex.withLock {
                world.record("have \(worker).\(round)")
                await world.yield()
              }
            }
          }
        }
      }
    }
    let texts = try #require(world.trace).events.map(\.text)
    let wanted = texts.filter { $0.hasPrefix("want") }.map { $0.dropFirst(5) }
    let had = texts.filter { $0.hasPrefix("have") }.map { $0.dropFirst(5) }
    #expect(wanted == had, "seed \(seed)")
    #expect(had.count == 32)
  }

  @Test func onThreadsOnlyOneHoldsTheLock() async {
    let world = World.threaded(threads: 4)
    let mutex = AsyncMutex()
    let tally = Tally()
    await world.run {
      await withTaskGroup(of: Void.self) { group in
        for _ in 0..<8 {
          group.addTask {
            for round in 0..<1_000 {
              await mutex.withLock {
                tally.value += 1
                if round % 16 == 0 { await world.yield() }
              }
            }
          }
        }
      }
    }
    #expect(tally.value == 8_000)
    #expect(mutex.tryLock())
  }

  @Test func tryLockTakesAFreeLockAlone() {
    let mutex = AsyncMutex()
    #expect(mutex.tryLock())
    #expect(!mutex.tryLock())
    mutex.unlock()
    #expect(mutex.tryLock())
  }

  @Test func theLockIsGivenBackWhenTheBodyThrows() async {
    let mutex = AsyncMutex()
    await #expect(throws: Refusal.self) {
      try await mutex.withLock { () async throws(Refusal) in throw Refusal(code: 2) }
    }
    #expect(mutex.tryLock())
  }

  @Test func aCancelledJobLeavesTheLineAndARequestStays() {
    let world = World.simulated(seed: 1)
    let mutex = AsyncMutex()
    world.runBlocking {
      await mutex.lock()
      let job = world.spawn {
        let hasLock = await mutex.lockUnlessCancelled()
        world.record("job \(hasLock)")
      }
      let request = world.spawn {
        await mutex.lock()
        world.record("request, cancelled: \(Task.isCancelled)")
        mutex.unlock()
      }
      await world.sleep(nanoseconds: 1)
      job.cancel()
      request.cancel()
      await job.wait()
      await world.sleep(nanoseconds: 1)
      world.record("unlock")
      mutex.unlock()
      await request.wait()
    }
    let texts = world.trace?.events.map(\.text)
    #expect(texts == ["job false", "unlock", "request, cancelled: true"])
    #expect(mutex.tryLock())
  }

  @Test func onThreadsNoCancellationIsLost() async {
    let world = World.threaded(threads: 4)
    let mutex = AsyncMutex()
    let semaphore = AsyncSemaphore(permits: 0)
    await world.run {
      await mutex.lock()
      for round in 0..<1_000 {
        let tasks = [
          world.spawn { #expect(await mutex.lockUnlessCancelled() == false) },
          world.spawn { #expect(await semaphore.acquireUnlessCancelled() == false) },
          world.spawn { #expect(await world.sleep(nanoseconds: 3_600_000_000_000) == false) },
        ]
        if round % 2 == 0 { await world.yield() }
        for task in tasks { task.cancel() }
        for task in tasks { await task.wait() }
      }
      mutex.unlock()
    }
    #expect(mutex.tryLock())
  }

  @Test func aJobCancelledBeforeItAsksTakesNothing() {
    let world = World.simulated(seed: 1)
    let mutex = AsyncMutex()
    world.runBlocking {
      let job = world.spawn {
        while !Task.isCancelled { await world.yield() }
        #expect(await mutex.lockUnlessCancelled() == false)
      }
      job.cancel()
      await job.wait()
    }
    #expect(mutex.tryLock())
  }
}

/// A number whose only protection is the lock under test.
final class Tally: @unchecked Sendable {
  var value = 0
}
