import Execution
import Testing

@Suite struct EnteringTests {
  @MainActor
  @Test func workEnteredFromTheMainActorExecutesOnAWorldThread() async {
    let world = World.threaded(threads: 2)
    let node = Node(world)
    await world.run {
      #expect(World.current === world)
      #expect(await node.read() == 7)
      await withTaskGroup(of: Void.self) { group in
        for _ in 0..<8 { group.addTask { #expect(await node.read() == 7) } }
      }
    }
    #expect(World.current == nil)
  }

  @Test func runReturnsTheValueAndKeepsTheTypeOfTheError() async {
    let world = World.threaded(threads: 1)
    #expect(await world.run { 3 } == 3)
    do throws(Refusal) {
      try await world.run { () async throws(Refusal) in throw Refusal(code: 5) }
      Issue.record("nothing was thrown")
    } catch {
      #expect(error.code == 5)
    }
  }

  @Test func runBlockingWaitsForTheResultOnAPlainThread() throws {
    let world = World.threaded(threads: 1)
    let node = Node(world)
    #expect(world.runBlocking { await node.read() } == 7)
    #expect(throws: Refusal.self) {
      try world.runBlocking { () async throws(Refusal) in throw Refusal(code: 1) }
    }
  }

  @Test func runInsideOfItsOwnWorldIsAPlainCall() async {
    let world = World.threaded(threads: 1)
    let answer = await world.run { await world.run { await world.run { 9 } } }
    #expect(answer == 9)
  }
}

struct Refusal: Error, Equatable { let code: Int }

/// Stands for a node: work through an existential, checking where it runs.
protocol Readable: AnyObject, Sendable { func read() async -> Int }

final class Node: Readable {
  let world: World
  init(_ world: World) { self.world = world }

  func read() async -> Int {
    world.preconditionCurrent()
    await world.yield()
    world.preconditionCurrent()
    return 7
  }
}
