import Execution
import Primitives

/// A piece of work that uses every primitive, for comparing traces.
struct Scenario {
  /// Runs the work in a fresh simulated World and returns what it did.
  static func trace(seed: UInt64) -> SimulationTrace? {
    let world = World.simulated(seed: seed, stepLimit: 100_000)
    world.runBlocking { await run(in: world) }
    return world.trace
  }

  private static func run(in world: World) async {
    let scene = Scene(world)
    let side = world.spawn { await scene.tick() }
    await withTaskGroup(of: Void.self) { group in
      for worker in 0..<6 { group.addTask { await scene.work(worker) } }
    }
    async let left = scene.ledger.add(1)
    async let right = scene.ledger.add(2)
    let sum = await left + right
    world.record("sum \(sum)")
    side.cancel()
    await side.wait()
  }
}

private actor Ledger {
  var sum = 0
  func add(_ value: Int) -> Int {
    sum += value
    return sum
  }
}

private final class Scene: Sendable {
  let world: World
  let mutex = AsyncMutex()
  let ranges = RangeLock()
  let semaphore = AsyncSemaphore(permits: 2)
  let ledger = Ledger()

  init(_ world: World) { self.world = world }

  func work(_ worker: Int) async {
    var random = world.makeRandom("worker \(worker)")
    for round in 0..<5 {
      let range = ByteRange(offset: Int.random(in: 0..<64, using: &random), count: 16)
      await ranges.withLock(range) {
        await world.yield()
        world.record("\(worker).\(round) has \(range)")
      }
      await mutex.withLock {
        _ = await world.sleep(nanoseconds: UInt64.random(in: 0..<5, using: &random))
      }
      await semaphore.withPermits {
        await world.yield()
        let sum = await ledger.add(worker)
        world.record("\(worker).\(round) adds: \(sum)")
      }
    }
  }

  func tick() async {
    while await world.sleep(nanoseconds: 7) { world.record("tick at \(world.now.nanoseconds)") }
  }
}
