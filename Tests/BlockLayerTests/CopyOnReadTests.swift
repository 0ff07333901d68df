import BlockLayer
import Execution
import Primitives
import SystemPackage
import Testing

@Suite struct CopyOnReadTests {
  /// A base that is written whole, an overlay of it, and the filter above.
  private struct Disk {
    let base: BlockNode
    let overlay: BlockNode
    let node: BlockNode

    init(_ world: World) async throws {
      let graph = BlockGraph(world: world, registry: .base)
      base = try graph.addNode(OverlayDriver(length: 16384))
      overlay = try graph.addNode(OverlayDriver(length: 16384, over: base))
      node = try graph.addNode(CopyOnReadDriver(image: overlay))
      try await base.write(pattern(12288), at: 0)
    }
  }

  @Test func whatIsReadIsKeptInWholeClusters() async throws {
    try await simulated { world in
      let disk = try await Disk(world)
      #expect(try await disk.node.bytes(5000, 100) == Array(pattern(12288)[5000..<5100]))
      let before = try await disk.overlay.chainStatus(ByteRange(0, 16384), downTo: disk.overlay)
      #expect(!before.status.isAllocated && before.count == 4096)
      let kept = try await disk.overlay.chainStatus(
        ByteRange(4096, 16384), downTo: disk.overlay)
      #expect(kept.status.isAllocated && kept.count == 4096)
      try await disk.base.write([UInt8](repeating: 7, count: 8192), at: 0)
      #expect(try await disk.node.bytes(4096, 4096) == Array(pattern(12288)[4096..<8192]))
      #expect(try await disk.node.bytes(0, 512) == [UInt8](repeating: 7, count: 512))
    }
  }

  @Test func whatTheImageHasIsLeftAsItIs() async throws {
    try await simulated { world in
      let disk = try await Disk(world)
      let own = [UInt8](repeating: 9, count: 512)
      try await disk.node.write(own, at: 4608)
      let expected = Array(pattern(12288)[0..<4608]) + own + Array(pattern(12288)[5120..<12288])
      #expect(try await disk.node.bytes(0, 12288) == expected)
      #expect(try await disk.overlay.bytes(0, 12288) == expected)
    }
  }

  @Test(arguments: 0..<20)
  func aWriteIsNotOverwrittenByWhatIsKept(seed: UInt64) async throws {
    try await simulated(seed: seed) { world in
      let disk = try await Disk(world)
      let own = [UInt8](repeating: 9, count: 512)
      await withTaskGroup { group in
        group.addTask { _ = try? await disk.node.bytes(0, 8192) }
        group.addTask { try? await disk.node.write(own, at: 1024) }
        group.addTask { _ = try? await disk.node.bytes(512, 4096) }
      }
      #expect(try await disk.node.bytes(1024, 512) == own)
      #expect(try await disk.node.bytes(0, 1024) == Array(pattern(12288)[0..<1024]))
    }
  }

  @Test func aReadOnlyImageKeepsNothing() async throws {
    try await simulated { world in
      let graph = BlockGraph(world: world, registry: .base)
      let image = try graph.addNode(
        OverlayDriver(), options: NodeOptions(isReadOnly: true))
      let error = await failure { _ = try CopyOnReadDriver(image: image) }
      #expect(error?.code == .readOnly)
    }
  }
}
