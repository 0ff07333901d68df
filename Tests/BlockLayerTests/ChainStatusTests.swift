import BlockLayer
import Execution
import Primitives
import SystemPackage
import Testing

@Suite struct ChainStatusTests {
  /// All runs of a node, as (start, count, depth, allocated, zero).
  private func runs(_ node: BlockNode, downTo base: BlockNode? = nil) async throws -> [String] {
    var texts: [String] = []
    var position = 0
    while position < node.length {
      let run = try await node.chainStatus(ByteRange(position, node.length), downTo: base)
      let kind = run.status.isData ? "data" : run.status.isZero ? "zero" : "none"
      let layer = run.status.isAllocated ? "allocated" : "unallocated"
      texts.append("\(position)+\(run.count) depth \(run.depth) \(layer) \(kind)")
      position += run.count
    }
    return texts
  }

  @Test func eachRunIsDecidedByTheFirstLayerThatHasIt() async throws {
    try await simulated { world in
      let graph = BlockGraph(world: world, registry: .base)
      let base = try graph.addNode(OverlayDriver(length: 2048))
      let middle = try graph.addNode(OverlayDriver(length: 8192, over: base))
      let filter = try graph.addNode(BlkdebugDriver(image: middle))
      let top = try graph.addNode(OverlayDriver(length: 6144, over: filter))
      try await base.write(pattern(1024), at: 0)
      try await middle.write(pattern(512), at: 512)
      try await middle.write(pattern(512), at: 3072)
      try await top.write(pattern(512), at: 4096)
      #expect(
        try await runs(top) == [
          "0+512 depth 2 allocated data", "512+512 depth 1 allocated data",
          "1024+1024 depth 2 unallocated zero", "2048+1024 depth 1 unallocated zero",
          "3072+512 depth 1 allocated data", "3584+512 depth 1 unallocated zero",
          "4096+512 depth 0 allocated data", "4608+1536 depth 1 unallocated zero",
        ])
      #expect(
        try await runs(top, downTo: middle) == [
          "0+512 depth 1 unallocated none", "512+512 depth 1 allocated data",
          "1024+2048 depth 1 unallocated none", "3072+512 depth 1 allocated data",
          "3584+512 depth 1 unallocated none", "4096+512 depth 0 allocated data",
          "4608+1536 depth 1 unallocated none",
        ])
      #expect(try await runs(filter) == runs(middle))
    }
  }

  @Test func behindAShorterBackingNodeTheLayerAboveDecidesForZeros() async throws {
    try await simulated { world in
      let graph = BlockGraph(world: world, registry: .base)
      let base = try graph.addNode(OverlayDriver(length: 1024))
      let top = try graph.addNode(OverlayDriver(length: 2048, over: base))
      #expect(
        try await runs(top) == [
          "0+1024 depth 1 unallocated zero", "1024+1024 depth 0 unallocated zero",
        ])
    }
  }

  @Test func holesOfASparseFileShowThroughRaw() async throws {
    let folder = TemporaryFolder()
    let path = folder.file("f")
    try await simulated { world in
      let graph = BlockGraph(world: world, registry: .base)
      let file = try FileDriver.create(path, length: (1 << 20) + 100)
      try await file.write(pattern(65_536), at: 65_536)
      try await file.close()
      let raw = try await graph.open(path, OpenOptions(format: "raw"))
      #expect(
        try await runs(raw) == [
          "0+65536 depth 0 allocated zero", "65536+65536 depth 0 allocated data",
          "131072+918016 depth 0 allocated zero",
        ])
      try await graph.close(raw)
    }
  }
}
