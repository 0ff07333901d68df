import Execution
import Primitives
import Synchronization
import Testing

@Suite struct RangeLockTests {
  @Test func disjointRangesNeverWaitForEachOther() throws {
    let lock = RangeLock()
    let left = try #require(lock.tryLock(ByteRange(0, 512)))
    let right = try #require(lock.tryLock(ByteRange(512, 1024)))
    #expect(lock.tryLock(ByteRange(511, 513)) == nil)
    #expect(lock.tryLock(ByteRange(100, 100)) != nil)
    lock.unlock(left)
    #expect(lock.tryLock(ByteRange(0, 512)) != nil)
    #expect(lock.tryLock(ByteRange(511, 513)) == nil)
    lock.unlock(right)
  }

  @Test func sharedHoldersExcludeExclusiveOnesOnly() throws {
    let lock = RangeLock()
    let range = ByteRange(0, 4096)
    let first = try #require(lock.tryLock(range, .shared))
    let second = try #require(lock.tryLock(range, .shared))
    #expect(lock.tryLock(range, .exclusive) == nil)
    lock.unlock(first)
    #expect(lock.tryLock(range, .exclusive) == nil)
    lock.unlock(second)
    let alone = try #require(lock.tryLock(range, .exclusive))
    #expect(lock.tryLock(range, .shared) == nil)
    lock.unlock(alone)
    #expect(lock.heldCount == 0)
  }

  @Test func aLateComerDoesNotOvertakeAWaiterItOverlaps() throws {
    let world = World.simulated(seed: 1)
    let lock = RangeLock()
    world.runBlocking {
      let held = await lock.lock(ByteRange(0, 100))
      let wide = world.spawn { await lock.withLock(ByteRange(50, 300)) { world.record("wide") } }
      await world.sleep(nanoseconds: 1)
      #expect(lock.tryLock(ByteRange(200, 250)) == nil)
      let late = world.spawn { await lock.withLock(ByteRange(200, 250)) { world.record("late") } }
      await world.sleep(nanoseconds: 1)
      let elsewhere = lock.tryLock(ByteRange(300, 400))
      #expect(elsewhere != nil, "a disjoint range never waits")
      if let elsewhere { lock.unlock(elsewhere) }
      lock.unlock(held)
      await wide.wait()
      await late.wait()
    }
    #expect(world.trace?.events.map(\.text) == ["wide", "late"])
    #expect(lock.heldCount == 0)
  }

  /// Against a naive model: who holds what, and who wants what in the order of asking.
  @Test(arguments: 0..<20 as Range<UInt64>)
  func underRandomLoadHoldersExcludeEachOtherAndOverlapsAreServedInOrder(seed: UInt64) {
    let world = World.simulated(seed: seed)
    let lock = RangeLock()
    let model = RangeModel()
    world.runBlocking {
      await withTaskGroup(of: Void.self) { group in
        for worker in 0..<10 {
          group.addTask {
            var random = world.makeRandom("worker \(worker)")
            for _ in 0..<20 {
              let range = ByteRange(
                offset: Int.random(in: 0..<100, using: &random),
                count: Int.random(in: 0..<40, using: &random))
              let mode: RangeLock.Mode = Bool.random(using: &random) ? .shared : .exclusive
              let ticket = model.want(range, mode)
              await lock.withLock(range, mode) {
                model.take(ticket)
                await world.sleep(nanoseconds: UInt64.random(in: 0..<10, using: &random))
                model.leave(ticket)
              }
            }
          }
        }
      }
    }
    #expect(model.faults == [], "seed \(seed)")
    #expect(model.mostHolders > 2, "seed \(seed)")
    #expect(lock.heldCount == 0)
  }

  @Test func onThreadsOverlappingHoldersAreAlone() async {
    let world = World.threaded(threads: 4)
    let lock = RangeLock()
    let bytes = (0..<8).map { _ in Tally() }
    await world.run {
      await withTaskGroup(of: Void.self) { group in
        for worker in 0..<8 {
          group.addTask {
            for round in 0..<500 {
              let offset = (worker + round) % 7
              await lock.withLock(ByteRange(offset, offset + 2)) {
                bytes[offset].value += 1
                if round % 16 == 0 { await world.yield() }
                bytes[offset + 1].value += 1
              }
            }
          }
        }
      }
    }
    #expect(bytes.reduce(0) { $0 + $1.value } == 8_000)
    #expect(lock.heldCount == 0)
  }
}

/// What a range lock must guarantee, checked the slow way; used in one simulated World.
private final class RangeModel: @unchecked Sendable {
  private struct Claim {
    let ticket: Int
    let range: ByteRange
    let mode: RangeLock.Mode
    func excludes(_ other: Claim) -> Bool {
      let shared = Set(range.lower..<range.upper).intersection(
        other.range.lower..<other.range.upper)
      return !shared.isEmpty && (mode == .exclusive || other.mode == .exclusive)
    }
  }

  private var wanted: [Claim] = []
  private var held: [Claim] = []
  private var tickets = 0
  private(set) var faults: [String] = []
  private(set) var mostHolders = 0

  func want(_ range: ByteRange, _ mode: RangeLock.Mode) -> Int {
    tickets += 1
    wanted.append(Claim(ticket: tickets, range: range, mode: mode))
    return tickets
  }

  func take(_ ticket: Int) {
    guard let index = wanted.firstIndex(where: { $0.ticket == ticket }) else { return }
    let claim = wanted.remove(at: index)
    if wanted[..<index].contains(where: { $0.excludes(claim) }) {
      faults.append("\(ticket) overtakes")
    }
    if held.contains(where: { $0.excludes(claim) }) { faults.append("\(ticket) shares") }
    held.append(claim)
    mostHolders = max(mostHolders, held.count)
  }

  func leave(_ ticket: Int) { held.removeAll { $0.ticket == ticket } }
}
