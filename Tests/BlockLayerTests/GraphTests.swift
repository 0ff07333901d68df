import BlockLayer
import Execution
import Primitives
import Testing

@Suite struct GraphTests {
  private func graph(
    _ body: @escaping @Sendable (BlockGraph, World) async throws -> Void
  ) async throws {
    try await simulated { world in
      try await body(BlockGraph(world: world, registry: .withOverlay), world)
    }
  }

  @Test func namesFollowQEMUsRules() async throws {
    try await graph { graph, _ in
      func add(_ name: String) async -> String? {
        await failure { _ = try graph.addNode(NullDriver(), name: name) }?.message
      }
      for name in ["", "1a", "a b", "#a", "a/b", "é"] {
        #expect(await add(name) == "Invalid node-name: '\(name)'")
      }
      #expect(await add(String(repeating: "x", count: 32)) == "Node name too long")
      let longest = try graph.addNode(NullDriver(), name: "A" + String(repeating: "-", count: 30))
      #expect(await add(longest.name) == "Duplicate nodes with node-name='\(longest.name)'")
      _ = try BlockBackend(longest, in: graph, name: "drive0")
      #expect(await add("drive0") == "node-name=drive0 is conflicting with a device id")
      let clash = await failure { _ = try BlockBackend(longest, in: graph, name: longest.name) }
      #expect(
        clash?.message == "Device name '\(longest.name)' conflicts with an existing node name")
      let one = try graph.addNode(NullDriver())
      let two = try graph.addNode(NullDriver())
      #expect(one.name.hasPrefix("#block") && one.name != two.name)
      #expect(graph.nodes.map(\.name) == [two.name, one.name, longest.name])
      let missing = await failure { _ = try graph.node(named: "nobody") }
      #expect(missing?.message == "Cannot find device='' nor node-name='nobody'")
    }
  }

  @Test func aUserThatTakesWhatAnotherDoesNotShareIsRefusedInQEMUsWords() async throws {
    try await graph { graph, _ in
      let file = try graph.addNode(MemoryDriver(length: 512), name: "f")
      let one = try graph.addNode(OverlayDriver(file: file), name: "r1")
      let error = await failure { _ = try graph.addNode(OverlayDriver(file: file), name: "r2") }
      #expect(
        error?.message
          == "Permission conflict on node 'f': permissions 'write, resize' are both required by "
          + "node 'r1' (uses node 'f' as 'file' child) and unshared by node 'r2' (uses node 'f' as "
          + "'file' child).")
      #expect(error?.code == .permissionConflict)
      #expect(file.parentEdges.count == 1, "the refused node kept its edge")
      let direct = await failure {
        _ = try BlockBackend(file, in: graph, name: "d", permissions: .writer)
      }
      #expect(direct?.message.contains("required by block device 'd'") == true)
      try await graph.close(one)
      _ = try graph.addNode(OverlayDriver(file: file), name: "r2")
    }
  }

  @Test func permissionsReachTheNodesBelowFilters() async throws {
    try await graph { graph, _ in
      let file = try graph.addNode(MemoryDriver(length: 512), name: "f")
      let filter = try graph.addNode(BlkdebugDriver(image: file), name: "g")
      #expect(file.parentEdges[0].permissions == .none, "a filter without users takes nothing")
      let exclusive = EdgePermissions(taken: [.consistentRead, .write], shared: .consistentRead)
      let door = try BlockBackend(filter, in: graph, permissions: exclusive)
      #expect(file.parentEdges[0].permissions == exclusive)
      let error = await failure { _ = try BlockBackend(file, in: graph, name: "d") }
      #expect(error?.message.contains("unshared by node 'g' (uses node 'f' as 'file'") == true)
      await door.close()
      #expect(file.parentEdges[0].permissions == .none)
      _ = try BlockBackend(file, in: graph, name: "d")
    }
  }

  @Test func nobodyWritesToAReadOnlyNode() async throws {
    try await graph { graph, _ in
      let options = NodeOptions(isReadOnly: true)
      let node = try graph.addNode(MemoryDriver(length: 512), options: options)
      let error = await failure { _ = try BlockBackend(node, in: graph, permissions: .writer) }
      #expect(error?.message == "Block node is read-only")
      _ = try BlockBackend(node, in: graph)
    }
  }

  @Test func closingGoesDownwardsAndSparesWhatIsNamedOrInUse() async throws {
    try await graph { graph, world in
      let disk = StrictDriver(world, length: 4096)
      let file = try graph.addNode(disk)
      let raw = try graph.addNode(RawDriver(file: file), name: "r")
      let door = try BlockBackend(raw, in: graph)
      let error = await failure { try await graph.close(raw) }
      #expect(error?.message == "Node r is in use by an unnamed block device")
      try await door.write([1], at: 0)
      await door.close()
      let late = await failure { try await door.write([1], at: 0) }
      #expect(late?.code == .closed)
      try await graph.close(raw)
      #expect(disk.notes == ["write 0+1", "sync", "close"])
      #expect(graph.nodes.isEmpty && graph.backends.isEmpty)
    }
  }

  /// On real threads, whose order no seed decides: a device is found, or it is gone.
  @Test func aDeviceMayBeLookedUpWhileItIsClosed() async throws {
    let world = World.threaded(threads: 4)
    try await world.run {
      let graph = BlockGraph(world: world, registry: .base)
      let node = try graph.addNode(MemoryDriver(length: 512), name: "n")
      let user = world.spawn {
        for _ in 0..<2000 {
          guard let door = try? BlockBackend(node, in: graph, name: "d") else { continue }
          await door.close()
        }
        try? await graph.close(node)
      }
      while !graph.nodes.isEmpty {
        if let name = graph.deviceName(at: node) { #expect(name == "d") }
        if let found = try? graph.deviceOrNode(named: "d") { #expect(found === node) }
        await world.yield()
      }
      await user.wait()
    }
  }

  @Test(arguments: 0..<10)
  func aChangeOfTheGraphWaitsForRequestsAndHoldsNewOnesBack(seed: UInt64) async throws {
    try await simulated(seed: seed) { world in
      let graph = BlockGraph(world: world, registry: .base)
      let disk = try graph.addNode(MemoryDriver(length: 4096))
      let stop = try BlkdebugDriver(image: disk)
      let top = try graph.addNode(stop)
      let raw = try graph.addNode(RawDriver(file: top), name: "r")
      let door = try BlockBackend(raw, in: graph)
      let order = Notes()
      stop.addBreakpoint(.writeAio, tag: "A")
      await withTaskGroup { group in
        group.addTask {
          try? await door.write([1], at: 0)
          order.note("first write")
        }
        await stop.waitForBreakpoint("A")
        group.addTask {
          await #expect(throws: Never.self) {
            try await graph.drained(disk) { () throws(BlockError) in order.note("change") }
          }
        }
        for _ in 0..<10 { await world.yield() }
        group.addTask {
          try? await door.write([2], at: 0)
          order.note("second write")
        }
        for _ in 0..<10 { await world.yield() }
        order.note("resume")
        try? stop.resume("A")
      }
      #expect(
        order.all == ["resume", "first write", "change", "second write"]
          || order.all == ["resume", "change", "first write", "second write"],
        "seed \(seed)")
    }
  }

  @Test func aFilterGoesInAndOutWhileAGuestWrites() async throws {
    try await graph { graph, world in
      let disk = try graph.addNode(MemoryDriver(length: 1 << 20), name: "disk")
      let door = try BlockBackend(disk, in: graph)
      try await withThrowingTaskGroup { group in
        group.addTask {
          for index in 0..<100 { try await door.write([UInt8(index)], at: index * 512) }
        }
        for _ in 0..<5 {
          let filter = try graph.addNode(BlkdebugDriver(image: disk))
          try await graph.insert(filter: filter, above: disk)
          #expect(door.node === filter)
          await world.yield()
          try await graph.remove(filter: filter)
          #expect(door.node === disk)
          try await graph.close(filter)
        }
        try await group.waitForAll()
      }
      for index in 0..<100 { #expect(try await disk.bytes(index * 512, 1) == [UInt8(index)]) }
      #expect(graph.nodes.map(\.name) == ["disk"])
    }
  }

  @Test func aFilterUnderAFormatIsTakenOutAlthoughTheFormatResizesItsFile() async throws {
    try await graph { graph, _ in
      let file = try graph.addNode(MemoryDriver(length: 4096), name: "f")
      let filter = try graph.addNode(BlkdebugDriver(image: file), name: "g")
      let format = try graph.addNode(OverlayDriver(file: filter), name: "r")
      try await graph.remove(filter: filter)
      #expect(format.primary === file)
      try await graph.insert(filter: filter, above: file)
      #expect(format.primary === filter)
    }
  }

  @Test func aUserBelowTheFilterItselfStaysWhereItIs() async throws {
    try await graph { graph, _ in
      let source = try graph.addNode(MemoryDriver(length: 4096), name: "source")
      let door = try BlockBackend(source, in: graph)
      let target = try graph.addNode(OverlayDriver(length: 4096, over: source), name: "target")
      let filter = try graph.addNode(TwoChildFilter(file: source, target: target), name: "filter")
      try await graph.insert(filter: filter, above: source)
      #expect(door.node === filter && target.backing === source && filter.primary === source)
      try await door.write(pattern(512), at: 0)
    }
  }

  @Test func aFilterThatMayNotGoInLeavesTheGraphAsItWas() async throws {
    try await graph { graph, _ in
      let disk = try graph.addNode(MemoryDriver(length: 4096), name: "disk")
      let door = try BlockBackend(disk, in: graph, name: "d")
      let options = NodeOptions(isReadOnly: true)
      let filter = try graph.addNode(BlkdebugDriver(image: disk), name: "g", options: options)
      let error = await failure { try await graph.insert(filter: filter, above: disk) }
      #expect(error?.message == "Block node is read-only")
      #expect(door.node === disk)
      try await door.write([1], at: 0)
      try await graph.close(filter)
    }
  }

  @Test func resizingIsRefusedWhileSomebodyCountsOnTheLength() async throws {
    try await graph { graph, _ in
      let disk = try graph.addNode(MemoryDriver(length: 4096), name: "disk")
      let door = try BlockBackend(disk, in: graph, name: "d")
      let export = try BlockBackend(disk, in: graph, permissions: .reader)
      let error = await failure { try await door.resize(to: 8192) }
      #expect(error?.code == .permissionConflict)
      await export.close()
      try await door.resize(to: 8192)
      #expect(door.length == 8192 && door.permissions == .writer)
      let negative = await failure { try await door.resize(to: -1) }
      #expect(negative?.message == "Parameter 'size' expects a >0 size")
      let null = try BlockBackend(try graph.addNode(NullDriver()), in: graph)
      let fixed = await failure { try await null.resize(to: 0) }
      #expect(fixed?.code == .unsupported)
    }
  }
}

/// A filter with a second child, as copy-before-write is one.
private final class TwoChildFilter: BlockDriver {
  let children: [BlockEdge]
  var driverName: String { "two" }
  var isFilter: Bool { true }
  var length: Int { children[0].node.length }

  init(file: BlockNode, target: BlockNode) throws(BlockError) {
    children = [try BlockEdge(.file, to: file), try BlockEdge(.target, to: target)]
  }

  func permissions(for role: ChildRole, parents: EdgePermissions, readOnly: Bool)
    -> EdgePermissions
  { role == .file ? parents : .none }

  func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError) {
    try await children[0].node.read(range, into: &buffer)
  }

  func write(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    try await children[0].node.write(range, from: bytes)
  }

  func status(_ range: ByteRange) async throws(BlockError) -> BlockStatus {
    try await children[0].node.driver.status(range)
  }
}
