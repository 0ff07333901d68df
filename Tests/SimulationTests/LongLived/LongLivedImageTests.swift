import BlockLayer
import BlockTestKit
import Execution
import Foundation
import Qcow2
import SystemPackage
import Testing

/// Images that live long: no cluster that anyone uses is ever handed out, the file's length follows
/// what is in it, and nothing is wrong at the end.
@Suite struct LongLivedImageTests {
  static let kinds: [LongLivedImage.Kind] = [
    .init(), .init(refcountBits: 64), .init(clusterSize: 1024, refcountBits: 2),
    .init(clusterSize: 4096, refcountBits: 4), .init(version: .v2),
  ]

  /// The operations of one life; `LAMINA_OPERATIONS` has the number of a single, longer one.
  private static func operations(_ usual: Int) -> Int {
    let asked = ProcessInfo.processInfo.environment["LAMINA_OPERATIONS"].flatMap(Int.init)
    return asked ?? (SimulationBudget.isLong ? 1_000_000 : usual)
  }

  private func live(
    _ kind: LongLivedImage.Kind, _ operations: Int, on host: @escaping LongLivedImage.Host,
    in world: World
  ) async throws -> String? {
    var image = try await LongLivedImage(kind, on: host, in: world)
    do {
      while image.operations < operations { try await image.live() }
      try await image.reopen()
    } catch {
      return "after \(image.operations) operations: \(error)"
    }
    if SimulationBudget.isLong {
      print(
        "\(image.operations) operations, \(kind): \(image.largest), "
          + "\(image.longestFile / kind.clusterSize) clusters")
    }
    return nil
  }

  @Test(arguments: 0..<5)
  func onASimulatedDiskNoLiveClusterIsHandedOutAndTheFileIsBounded(seed: Int) async throws {
    let kind = Self.kinds[seed % Self.kinds.count]
    let world = World.simulated(seed: UInt64(seed), stepLimit: .max)
    let problem = try await world.run { () async throws -> String? in
      let disk = SimulatedDisk(in: world)
      return try await live(kind, Self.operations(2000), on: { disk }, in: world)
    }
    #expect(problem == nil, "seed \(seed), \(kind)")
  }

  @Test(arguments: 0..<2)
  func onAHostFileNoLiveClusterIsHandedOutAndTheFileIsBounded(seed: Int) async throws {
    let kind = Self.kinds[seed % Self.kinds.count]
    let folder = FileManager.default.temporaryDirectory.appending(path: "long-life-\(UUID())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let path = FilePath(folder.appending(path: "image").path)
    let world = World.threaded(threads: 4, seed: UInt64(seed))
    let problem = try await world.run { () async throws -> String? in
      try await FileDriver.create(path).close()
      let options = OpenOptions(format: nil, locking: .off, discard: .unmap)
      let open = { @Sendable () throws(BlockError) -> any ResizableImage in
        try FileDriver.open(path, options)
      }
      return try await live(kind, Self.operations(2000), on: open, in: world)
    }
    world.shutdown()
    #expect(problem == nil, "seed \(seed), \(kind)")
  }
}
