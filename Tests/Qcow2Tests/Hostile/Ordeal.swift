import BlockLayer
import Execution
import Primitives
import Qcow2
import Synchronization
import Testing

/// All that is done to an image, and what must hold whatever its bytes are: nothing traps, goes on
/// without end or takes much memory; who only looks writes nothing; and a guest's writes change
/// nothing that it could read before and did not write, unless a check calls the image corrupt.
struct Ordeal {
  /// Why it could not be opened read-only, or to be written.
  private(set) var readingError: BlockError?
  private(set) var writingError: BlockError?
  /// What the first request that failed met.
  private(set) var requestError: BlockError?
  /// What a check said before; nil when the header could not be used.
  private(set) var check: ImageCheck?
  /// Why there is none.
  private(set) var checkError: BlockError?

  /// The memory that no image may take, beyond caches.
  static let memoryLimit = 64 << 20

  private let bytes: [UInt8]
  private let comment: Comment

  /// Lets an image of these bytes go through it.
  @discardableResult
  static func endure(
    _ bytes: [UInt8], _ comment: Comment, sourceLocation: SourceLocation = #_sourceLocation
  ) async throws -> Ordeal {
    // Enough for any of it: a loop without an end runs out of steps, and says so.
    let world = World.simulated(seed: 1, stepLimit: 500_000)
    return try await world.run { () async throws -> Ordeal in
      var ordeal = Ordeal(bytes: bytes, comment: comment)
      try await ordeal.look(in: world)
      if let before = try await ordeal.read(in: world) {
        try await ordeal.write(in: world, before)
      }
      return ordeal
    }
  }

  private init(bytes: [UInt8], comment: Comment) {
    self.bytes = bytes
    self.comment = comment
  }

  private func opened(
    _ file: MeteredDriver, _ graph: BlockGraph, readOnly: Bool, isForCheck: Bool = false
  ) async throws(BlockError) -> BlockNode {
    var options = OpenOptions(format: "qcow2", readOnly: readOnly, discard: .unmap)
    options.isForCheck = isForCheck
    return try await graph.open(file: try graph.addNode(file, name: "file"), options)
  }

  private func expectModest(_ file: MeteredDriver) {
    #expect(file.largestRead.load(ordering: .relaxed) <= Self.memoryLimit, comment)
    #expect(file.bytesRead.load(ordering: .relaxed) <= 4 * Self.memoryLimit, comment)
  }

  // MARK: - Looking

  private mutating func look(in world: World) async throws {
    let file = try await MeteredDriver(bytes)
    let graph = DamagedImage.makeGraph(in: world)
    do throws(BlockError) {
      let node = try await opened(file, graph, readOnly: true, isForCheck: true)
      if let driver = node.driver as? Qcow2Driver {
        _ = try? await driver.information()
        check = try await driver.check()
      }
      try await graph.close(node)
    } catch {
      checkError = error
    }
    #expect(file.changes.load(ordering: .relaxed) == 0, comment)
    expectModest(file)
  }

  private mutating func read(in world: World) async throws -> [[UInt8]?]? {
    let file = try await MeteredDriver(bytes)
    let graph = DamagedImage.makeGraph(in: world)
    do throws(BlockError) {
      let node = try await opened(file, graph, readOnly: true)
      let door = try BlockBackend(node, in: graph)
      let view = await Self.view(of: door)
      let shown = ByteRange(0, min(door.length, HostileImage.diskSize))
      if !shown.isEmpty { _ = try? await node.chainStatus(shown) }
      await door.close()
      try? await graph.close(node)
      #expect(file.changes.load(ordering: .relaxed) == 0, comment)
      expectModest(file)
      return view
    } catch {
      readingError = error
      return nil
    }
  }

  /// What a guest sees of each sector of the disk's beginning; nil where it cannot be read.
  private static func view(of door: BlockBackend) async -> [[UInt8]?] {
    let count = min(door.length, HostileImage.diskSize) / 512
    guard let all = try? await door.read(at: 0, count: count * 512) else {
      var sectors: [[UInt8]?] = []
      for index in 0..<count { sectors.append(try? await door.read(at: index * 512, count: 512)) }
      return sectors
    }
    return (0..<count).map { Array(all[$0 * 512..<$0 * 512 + 512]) }
  }

  // MARK: - Writing

  private mutating func write(in world: World, _ before: [[UInt8]?]) async throws {
    let file = try await MeteredDriver(bytes)
    let graph = DamagedImage.makeGraph(in: world)
    var expected = before
    do throws(BlockError) {
      let node = try await opened(file, graph, readOnly: false)
      let door = try BlockBackend(node, in: graph)
      await guestAtWork(door, &expected)
      await door.close()
      try? await graph.close(node)
    } catch {
      writingError = error
      #expect(file.changes.load(ordering: .relaxed) == 0, "a refused opening wrote: \(comment)")
      return
    }
    expectModest(file)
    guard let check, check.corruptions == 0, check.checkErrors == 0 else { return }
    let again = DamagedImage.makeGraph(in: world)
    let node = try await opened(file, again, readOnly: true)
    let door = try BlockBackend(node, in: again)
    let after = await Self.view(of: door)
    for (index, old) in expected.enumerated() where old != nil && index < after.count {
      #expect(after[index] == old, "sector \(index): \(comment)")
    }
  }

  /// Requests of each kind, on clusters with and without a place.
  private mutating func guestAtWork(
    _ door: BlockBackend, _ expected: inout [[UInt8]?]
  ) async {
    let sectors = min(door.length, HostileImage.diskSize) / 512
    let requests: [(kind: Int, first: Int, count: Int)] = [
      (0, 0, 1), (0, 4, 3), (1, 9, 2), (2, 12, 4), (0, 30, 1), (1, 61, 3), (0, 63, 1),
    ]
    for (kind, first, count) in requests where first + count <= sectors {
      let range = ByteRange(offset: first * 512, count: count * 512)
      let byte: UInt8? = kind == 0 ? 0xe7 : kind == 1 ? 0 : nil
      do throws(BlockError) {
        switch kind {
        case 0: try await door.fill(0xe7, at: range.lower, count: range.count)
        case 1: try await door.writeZeroes(range, mayUnmap: true)
        default: try await door.discard(range)
        }
        for index in first..<first + count {
          expected[index] = byte.map { Array(repeating: $0, count: 512) }
        }
      } catch {
        for index in first..<first + count { expected[index] = nil }
        requestError = requestError ?? error
      }
    }
    do throws(BlockError) { try await door.flush() } catch { requestError = requestError ?? error }
  }
}
