import BlockLayer
import BlockTestKit
import Execution
import Foundation
import Primitives
import QEMUTools
import Qcow2
import Testing

/// Runs of clusters that are longer than what one refcount block counts.
@Suite struct AllocationTests {
  /// An image that grows from 1 MiB to a size whose L1 table no single block can count.
  struct Growth: CustomTestStringConvertible, Sendable {
    let clusterSize: Int
    let refcountBits: Int
    let size: Int
    /// Bytes written before it grows.
    var written = 64 << 10
    var version = FormatVersion.v3

    var testDescription: String {
      "\(version), \(clusterSize), \(refcountBits) bits, \(written) written, to \(size)"
    }

    var options: NewImageOptions {
      var options = NewImageOptions(virtualSize: 1 << 20)
      options.clusterSize = clusterSize
      options.refcountBits = refcountBits
      options.version = version
      return options
    }
  }

  static let growths = [
    Growth(clusterSize: 512, refcountBits: 16, size: 1 << 30),
    Growth(clusterSize: 512, refcountBits: 16, size: 1 << 30, written: 1 << 20, version: .v2),
    Growth(clusterSize: 512, refcountBits: 1, size: 9 << 30),
    // One more cluster than fits behind one block, and as many as do fit.
    Growth(clusterSize: 512, refcountBits: 64, size: 128 << 20),
    Growth(clusterSize: 512, refcountBits: 64, size: 126 << 20),
    // Blocks for more ranges than the refcount table names: it moves with them.
    Growth(clusterSize: 512, refcountBits: 64, size: 8 << 30),
    Growth(clusterSize: 512, refcountBits: 64, size: 16 << 30, written: 1 << 20),
    Growth(clusterSize: 1024, refcountBits: 64, size: 16 << 30),
  ]

  @Test(.timeLimit(.minutes(2)), arguments: growths)
  func anL1TableOfManyRefcountRangesIsFoundAPlace(growth: Growth) async throws {
    let world = World.simulated(seed: 3)
    let bytes = try await world.run { () async throws -> [UInt8] in
      let image = try await ImageFixture.create(growth.options, in: world)
      let disk = try await image.open()
      try await disk.fill(5, at: 0, count: growth.written)
      try await disk.resize(to: growth.size)
      try await disk.fill(6, at: growth.size - 512, count: 512)
      let driver = try #require(disk.node.driver as? Qcow2Driver)
      #expect(try await driver.check().isClean)
      try await image.close(disk)
      let reader = try await image.open(readOnly: true)
      #expect(reader.length == growth.size)
      let start = try await reader.read(at: 0, count: 1 << 20)
      #expect(start[..<growth.written].allSatisfy { $0 == 5 })
      #expect(start[growth.written...].allSatisfy { $0 == 0 })
      let end = try await reader.read(at: growth.size - 1024, count: 1024)
      #expect(end == [UInt8](repeating: 0, count: 512) + [UInt8](repeating: 6, count: 512))
      try await image.close(reader)
      return image.disk.visibleImage.bytes
    }
    guard QEMUTools.areInstalled else { return }
    let folder = try ScratchFolder()
    let path = folder.file("grown.qcow2")
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    let judgement = try QemuImg.check(path)
    #expect(judgement.status == 0)
    #expect(judgement.result?.leaks == 0 && judgement.result?.corruptions == 0)
  }

  @Test(
    arguments: [
      Growth(clusterSize: 512, refcountBits: 16, size: 1 << 30),
      Growth(clusterSize: 512, refcountBits: 64, size: 8 << 30),
    ])
  func aCrashWhileALongRunIsTakenLeavesNothingButLeaks(growth: Growth) async throws {
    let world = World.simulated(seed: 4)
    let points = CrashPointList()
    try await world.run { () async throws in
      let image = try await ImageFixture.create(growth.options, in: world)
      // What an earlier program left behind the end must not be taken for refcounts.
      let end = image.file.length.roundedUp(to: 512)
      try await image.patch([UInt8](repeating: 0xa5, count: 512 << 10), at: end)
      let disk = try await image.open()
      try await disk.fill(5, at: 0, count: growth.written)
      try await disk.flush()
      image.disk.observe { operation, phase in
        if phase == .completing, operation != .read { points.add(image.disk.crashPoint()) }
      }
      try await disk.resize(to: growth.size)
      try await image.close(disk)
      image.disk.observe(nil)
    }
    #expect(points.all.count > 5)
    for (number, point) in points.all.enumerated() {
      for (index, state) in point.states(.brief(maximum: 3), seed: UInt64(number)).enumerated() {
        let check = try await Self.check(state.image)
        #expect(check.corruptions == 0 && check.checkErrors == 0, "\(number), state \(index)")
      }
    }
  }

  private static func check(_ contents: SparseImage) async throws -> ImageCheck {
    let world = World.simulated(seed: 1)
    return try await world.run { () async throws -> ImageCheck in
      let graph = DamagedImage.makeGraph(in: world)
      let disk = SimulatedDisk(contents, in: world, schedulingPoints: false)
      let file = try graph.addNode(disk, name: "file")
      var options = OpenOptions(format: "qcow2", readOnly: true)
      options.isForCheck = true
      let node = try await graph.open(file: file, options)
      let driver = try #require(node.driver as? Qcow2Driver)
      let result = try await driver.check()
      try await graph.close(node)
      return result
    }
  }
}
