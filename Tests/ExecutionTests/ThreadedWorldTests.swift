import Execution
import Synchronization
import Testing

#if os(Linux)
import Glibc

/// The number of threads of this process.
private func threadCount() -> Int {
  var count = 0
  guard let directory = opendir("/proc/self/task") else { return 0 }
  while let entry = readdir(directory) {
    if entry.pointee.d_name.0 != CChar(bitPattern: UInt8(ascii: ".")) { count += 1 }
  }
  closedir(directory)
  return count
}
#endif

@Suite struct ThreadedWorldTests {
  @Test func theClockIsMonotonicAndSleepsLastAsLongAsTheySay() async {
    let world = World.threaded(threads: 2)
    await world.run {
      let start = world.now
      #expect(await world.sleep(nanoseconds: 5_000_000))
      #expect(world.now.nanoseconds(since: start) >= 5_000_000)
      #expect(await world.sleep(until: start))
    }
  }

  @Test func aCancelledSleepEndsAtOnce() async {
    let world = World.threaded(threads: 2)
    let hasSlept = await world.run {
      let box = Box(Mutex<Bool?>(nil))
      let sleeper = world.spawn {
        let whole = await world.sleep(nanoseconds: 3_600_000_000_000)
        box.value.withLock { $0 = whole }
      }
      await world.sleep(nanoseconds: 1_000_000)
      sleeper.cancel()
      await sleeper.wait()
      return box.value.withLock { $0 }
    }
    #expect(hasSlept == false)
  }

  @Test func cancellingTheCallerCancelsWhatItEntered() async {
    let world = World.threaded(threads: 1)
    let caller = Task { await world.run { await world.sleep(nanoseconds: 3_600_000_000_000) } }
    caller.cancel()
    #expect(await caller.value == false)
  }

  @Test func cancellingTheCallerOfASimulationCancelsWhatItEntered() async {
    let world = World.simulated(seed: 1)
    let caller = Task {
      await world.run {
        while !Task.isCancelled { await world.yield() }
        return true
      }
    }
    caller.cancel()
    #expect(await caller.value)
  }

  @Test func oneThreadServesManyTasksFairly() async {
    let world = World.threaded(threads: 1)
    await world.run {
      let flag = Flag()
      let spinner = world.spawn {
        while !flag.isSet.load(ordering: .relaxed) { await world.yield() }
      }
      let setter = world.spawn {
        await world.yield()
        flag.isSet.store(true, ordering: .relaxed)
      }
      await spinner.wait()
      await setter.wait()
    }
  }

  @Test func tasksThatHandEachOtherTheNextTurnDoNotStarveTheQueue() async {
    let world = World.threaded(threads: 1)
    await world.run {
      let stop = Flag()
      let ping = AsyncSemaphore(permits: 1)
      let pong = AsyncSemaphore(permits: 0)
      let left = world.spawn {
        while !stop.isSet.load(ordering: .relaxed) {
          await ping.acquire()
          pong.release()
        }
      }
      let right = world.spawn {
        while !stop.isSet.load(ordering: .relaxed) {
          await pong.acquire()
          ping.release()
        }
      }
      await world.yield()
      stop.isSet.store(true, ordering: .relaxed)
      ping.release()
      pong.release()
      await left.wait()
      await right.wait()
    }
  }

  @Test func aThreadThatBlocksHandsTheWaitingJobOver() async {
    let world = World.threaded(threads: 2)
    await world.run {
      let flag = Flag()
      let gate = AsyncGate()
      gate.close()
      let waiter = world.spawn {
        await gate.pass()
        flag.isSet.store(true, ordering: .releasing)
      }
      while world.now.nanoseconds < 2_000_000 { await world.yield() }
      gate.open()
      World.willBlock()
      while !flag.isSet.load(ordering: .acquiring) {}
      await waiter.wait()
    }
  }

  @Test func shutdownWaitsForEveryTask() {
    let world = World.threaded(threads: 3)
    let counter = Counter()
    for _ in 0..<10 {
      world.spawn {
        await world.sleep(nanoseconds: 2_000_000)
        world.spawn { counter.value.wrappingAdd(1, ordering: .relaxed) }
      }
    }
    world.shutdown()
    #expect(counter.value.load(ordering: .relaxed) == 10)
    world.shutdown()
  }

  @Test func spawnedWorkKeepsItsWorldAlive() async {
    let gate = AsyncGate()
    gate.close()
    let task: WorldTask
    do {
      let world = World.threaded(threads: 1)
      task = world.spawn {
        await gate.pass()
        #expect(World.current != nil)
      }
    }
    gate.open()
    await task.wait()
  }

  @Test func aReleasedWorldEnds() async {
    weak var released: World?
    do {
      let world = World.threaded(threads: 2)
      released = world
      await world.run { await world.yield() }
      #expect(released != nil)
    }
    for _ in 0..<1_000 where released != nil { try? await Task.sleep(nanoseconds: 1_000_000) }
    #expect(released == nil)
  }

  #if os(Linux)
  @Test func theThreadsOfReleasedWorldsEnd() async {
    await #expect(processExitsWith: .success) {
      let before = threadCount()
      for _ in 0..<200 {
        let world = World.threaded(threads: 3)
        await world.run { await world.yield() }
      }
      for _ in 0..<1_000 where threadCount() > before { usleep(5_000) }
      if threadCount() > before { exit(1) }
      let world = World.threaded(threads: 3)
      if threadCount() <= before { exit(2) }
      world.shutdown()
      // The last instructions of a thread come after it has said goodbye.
      for _ in 0..<1_000 where threadCount() > before { usleep(5_000) }
      if threadCount() > before { exit(3) }
    }
  }
  #endif

  @Test func thousandsOfWorldsCanBeMadeAndDropped() {
    for index in 0..<2_000 {
      let threaded = World.threaded(threads: 2)
      if index % 4 == 0 { #expect(threaded.runBlocking { await threaded.run { index } } == index) }
      let simulated = World.simulated(seed: UInt64(index))
      #expect(simulated.runBlocking { index } == index)
    }
  }
}

private final class Box<Value: ~Copyable & Sendable>: Sendable {
  let value: Value
  init(_ value: consuming Value) { self.value = value }
}

private final class Flag: Sendable {
  let isSet = Atomic(false)
}

private final class Counter: Sendable {
  let value = Atomic(0)
}
