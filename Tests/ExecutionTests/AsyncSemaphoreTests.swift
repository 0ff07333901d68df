import Execution
import Testing

@Suite struct AsyncSemaphoreTests {
  @Test(arguments: 0..<10 as Range<UInt64>)
  func neverMoreHoldersThanPermitsAndNobodyStarves(seed: UInt64) {
    let world = World.simulated(seed: seed)
    let semaphore = AsyncSemaphore(permits: 5)
    let inside = Tally()
    let most = Tally()
    world.runBlocking {
      await withTaskGroup(of: Void.self) { group in
        for worker in 0..<12 {
          group.addTask {
            let permits = 1 + worker % 4
            for _ in 0..<10 {
              await semaphore.withPermits(permits) {
                inside.value += permits
                most.value = max(most.value, inside.value)
                await world.yield()
                inside.value -= permits
              }
            }
          }
        }
      }
    }
    #expect(most.value == 5, "seed \(seed)")
    #expect(semaphore.available == 5)
  }

  @Test func whoAsksForManyHoldsBackThoseBehind() {
    let world = World.simulated(seed: 1)
    let semaphore = AsyncSemaphore(permits: 2)
    world.runBlocking {
      await semaphore.acquire()
      let many = world.spawn { await semaphore.withPermits(2) { world.record("many") } }
      await world.sleep(nanoseconds: 1)
      #expect(!semaphore.tryAcquire())
      let few = world.spawn { await semaphore.withPermits { world.record("few") } }
      await world.sleep(nanoseconds: 1)
      semaphore.release()
      await many.wait()
      await few.wait()
    }
    #expect(world.trace?.events.map(\.text) == ["many", "few"])
  }

  @Test func aCancelledWaiterLetsThoseBehindItPass() {
    let world = World.simulated(seed: 1)
    let semaphore = AsyncSemaphore(permits: 2)
    world.runBlocking {
      await semaphore.acquire()
      let many = world.spawn {
        let hasPermits = await semaphore.acquireUnlessCancelled(2)
        world.record("many: \(hasPermits)")
      }
      await world.sleep(nanoseconds: 1)
      let few = world.spawn { await semaphore.withPermits { world.record("few") } }
      await world.sleep(nanoseconds: 1)
      many.cancel()
      await many.wait()
      await few.wait()
      semaphore.release()
    }
    #expect(Set(world.trace?.events.map(\.text) ?? []) == ["many: false", "few"])
    #expect(semaphore.available == 2)
  }
}
