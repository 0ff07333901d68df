import BlockLayer
import Execution
import Primitives
import SystemPackage
import Testing

@Suite struct BlkdebugTests {
  /// A guest's disk: raw over blkdebug over memory.
  private struct Disk {
    let debug: BlkdebugDriver
    let node: BlockNode

    init(_ world: World, _ rules: BlkdebugRules) throws(BlockError) {
      let graph = BlockGraph(world: world, registry: .base)
      let file = try graph.addNode(MemoryDriver(length: 1 << 20))
      debug = try BlkdebugDriver(image: file, rules: rules)
      let options = NodeOptions(discard: .unmap)
      let filter = try graph.addNode(debug, options: options)
      node = try graph.addNode(RawDriver(file: filter), options: options)
    }

    func read(_ offset: Int = 0, _ count: Int = 512) async -> Errno? {
      await outcome { _ = try await node.bytes(offset, count) }
    }
    func write(_ offset: Int = 0, _ count: Int = 512) async -> Errno? {
      await outcome { try await node.write(pattern(count), at: offset) }
    }
    func flush() async -> Errno? { await outcome { try await node.flush() } }
    func zero() async -> Errno? { await outcome { try await node.writeZeroes(ByteRange(0, 512)) } }
    func discard() async -> Errno? { await outcome { try await node.discard(ByteRange(0, 512)) } }
    func status() async -> Errno? {
      await outcome { _ = try await node.chainStatus(ByteRange(0, 512)) }
    }

    private func outcome(_ body: () async throws -> Void) async -> Errno? {
      do { try await body() } catch { return (error as? BlockError)?.errno ?? .badAddress }
      return nil
    }
  }

  private func onDisk(
    _ injectErrors: [BlkdebugRules.InjectError], _ setStates: [BlkdebugRules.SetState] = [],
    _ body: @escaping @Sendable (Disk) async throws -> Void
  ) async throws {
    let rules = BlkdebugRules(injectErrors: injectErrors, setStates: setStates)
    try await simulated { world in try await body(Disk(world, rules)) }
  }

  /// Scenario D01.
  @Test func aFlushOfWrittenDataMovesTheStateAndTheNextReadFailsOnce() async throws {
    try await onDisk(
      [.init(event: .readAio, state: 2, once: true)],
      [.init(event: .flushToDisk, state: 1, newState: 2)]
    ) { disk in
      #expect(await disk.read() == nil)
      #expect(await disk.flush() == nil)
      #expect(await disk.read() == nil, "a flush of a clean node moved the state")
      #expect(disk.debug.currentState == 1)
      #expect(await disk.write() == nil)
      #expect(await disk.flush() == nil)
      #expect(disk.debug.currentState == 2)
      #expect(await disk.read() == .ioError)
      #expect(await disk.read() == nil)
    }
  }

  /// Scenario D02.
  @Test func statesCanBeChained() async throws {
    try await onDisk(
      [.init(event: .readAio, state: 3, once: true)],
      [
        .init(event: .flushToDisk, state: 1, newState: 2),
        .init(event: .readAio, state: 2, newState: 3),
      ]
    ) { disk in
      _ = await disk.write()
      #expect(await disk.flush() == nil)
      #expect(await disk.read() == nil, "the condition was looked at after the change")
      #expect(await disk.read() == .ioError)
    }
  }

  /// Scenario D03.
  @Test func aSectorLimitsTheRuleToRequestsThatTouchIt() async throws {
    try await onDisk([.init(event: .none, sector: 8)]) { disk in
      #expect(await disk.read(0, 4096) == nil)
      #expect(await disk.read(0, 4097) == .ioError)
      #expect(await disk.read(4096, 1) == .ioError)
      #expect(await disk.read(4097, 4096) == nil, "the sector's first byte decides")
      #expect(await disk.write(0, 8192) == .ioError)
      _ = await disk.write(8192)
      #expect(await disk.flush() == nil, "a flush touches no sector")
    }
  }

  /// Scenario D04.
  @Test func aRuleThatStaysFailsWhateverComesNext() async throws {
    try await onDisk([.init(event: .writeAio, errno: .noSpace)]) { disk in
      #expect(await disk.read() == nil)
      #expect(await disk.write() == .noSpace)
      #expect(await disk.read() == .noSpace)
      #expect(await disk.zero() == .noSpace)
      #expect(await disk.discard() == .noSpace)
      #expect(await disk.flush() == .noSpace)
      #expect(await disk.status() == nil)
      #expect(await disk.write() == .noSpace)
    }
  }

  /// Scenario D05.
  @Test(arguments: BlkdebugRules.RequestKind.allCases)
  func aKindLimitsTheRuleToRequestsOfIt(kind: BlkdebugRules.RequestKind) async throws {
    try await onDisk([.init(event: .none, requests: kind)]) { disk in
      func expected(_ other: BlkdebugRules.RequestKind) -> Errno? {
        other == kind ? .ioError : nil
      }
      #expect(await disk.read() == expected(.read))
      #expect(await disk.write() == expected(.write))
      #expect(await disk.zero() == expected(.writeZeroes))
      #expect(await disk.discard() == expected(.discard))
      #expect(await disk.status() == expected(.blockStatus))
      #expect(await disk.flush() == expected(.flush))
    }
  }

  @Test func anEventWithRulesReplacesTheActiveOnesAnotherKeepsThem() async throws {
    try await onDisk([
      .init(event: .readAio, requests: .read, errno: .noSpace),
      .init(event: .writeAio, requests: .write, errno: .permissionDenied),
      .init(event: .writeAio, requests: .write, errno: .ioError),
    ]) { disk in
      #expect(await disk.read() == .noSpace)
      #expect(await disk.write() == .permissionDenied, "the first rule decides")
      await disk.node.primary?.raise(.l2Load)
      #expect(await disk.write() == .permissionDenied)
      #expect(await disk.zero() == nil)
    }
  }

  @Test func anErrnoOfZeroLetsTheRequestPassBeforeLaterRules() async throws {
    try await onDisk([
      .init(event: .none, errno: Errno(rawValue: 0), sector: 0, once: true),
      .init(event: .none),
    ]) { disk in
      for _ in 0..<3 { #expect(await disk.read() == nil) }
      #expect(await disk.read(512) == .ioError)
    }
  }

  @Test func ofSeveralChangesOfStateTheFirstRegisteredWins() async throws {
    try await onDisk(
      [],
      [
        .init(event: .writeAio, newState: 7), .init(event: .writeAio, newState: 8),
        .init(event: .writeAio, state: 1, newState: 9),
      ]
    ) { disk in
      #expect(await disk.write() == nil)
      #expect(disk.debug.currentState == 7)
    }
  }

  @Test func onceIsOnceAlsoForRequestsThatComeTogether() async throws {
    try await onDisk([.init(event: .none, once: true)]) { disk in
      let failures = await withTaskGroup { group in
        for index in 0..<8 { group.addTask { await disk.read(index * 512) } }
        return await group.reduce(0) { $0 + ($1 == nil ? 0 : 1) }
      }
      #expect(failures == 1)
    }
  }

  @Test func aFailureComesAfterARoundTripUnlessItIsImmediate() async throws {
    for immediately in [true, false] {
      try await simulated { world in
        let rules = BlkdebugRules(injectErrors: [.init(event: .none, immediately: immediately)])
        let disk = try Disk(world, rules)
        let before = world.trace?.steps
        #expect(await disk.read() == .ioError)
        #expect((world.trace?.steps == before) == immediately)
      }
    }
  }

  @Test func everyEventCanBeNamedAndThereAre48() {
    #expect(DebugEvent.allCases.count == 48)
    #expect(DebugEvent(rawValue: "refblock_alloc_switch_table") == .refblockAllocSwitchTable)
  }

  /// Scenario D06.
  @Test func limitsThatContradictThemselvesAreRefusedInQEMUsWords() async throws {
    let cases: [(BlkdebugLimits, String?)] = [
      (BlkdebugLimits(align: 100), "align 100"),
      (BlkdebugLimits(align: 1 << 31), "align 2147483648"),
      (BlkdebugLimits(align: -512), "align -512"), (BlkdebugLimits(align: 0), nil),
      (BlkdebugLimits(align: 1 << 30), nil),
      (BlkdebugLimits(align: 4096, maxTransfer: 512), "max-transfer 512"),
      (BlkdebugLimits(align: 512, maxTransfer: 1000), "max-transfer 1000"),
      (BlkdebugLimits(maxTransfer: 1000), nil), (BlkdebugLimits(maxTransfer: 0), nil),
      (BlkdebugLimits(maxTransfer: 1 << 31), "max-transfer 2147483648"),
      (BlkdebugLimits(align: 512, optWriteZero: 100), "opt-write-zero 100"),
      (BlkdebugLimits(align: 512, optWriteZero: 4096, maxWriteZero: 6144), "max-write-zero 6144"),
      (BlkdebugLimits(align: 512, optDiscard: 100), "opt-discard 100"),
      (BlkdebugLimits(align: 512, maxDiscard: 7), "max-discard 7"),
      (BlkdebugLimits(maxDiscard: 7), nil),
      (BlkdebugLimits(align: 512, optDiscard: 4096, maxDiscard: 512), "max-discard 512"),
    ]
    try await simulated { world in
      let graph = BlockGraph(world: world, registry: .base)
      let file = try graph.addNode(MemoryDriver(length: 1 << 20))
      for (limits, complaint) in cases {
        do throws(BlockError) {
          _ = try BlkdebugDriver(image: file, limits: limits)
          #expect(complaint == nil, "\(limits)")
        } catch {
          #expect(error.message == "Cannot meet constraints with \(complaint ?? "nothing")")
        }
      }
    }
  }

  @Test func itsLimitsShapeTheRequestsThatReachTheNodeBelow() async throws {
    try await simulated { world in
      let graph = BlockGraph(world: world, registry: .base)
      let disk = StrictDriver(world, length: 1 << 16)
      let file = try graph.addNode(disk)
      let limits = BlkdebugLimits(align: 4096, maxTransfer: 8192)
      let node = try graph.addNode(BlkdebugDriver(image: file, limits: limits))
      try await node.write(pattern(20_000), at: 1000)
      #expect(
        disk.notes == [
          "read 0+4096", "write 0+4096", "write 4096+8192", "write 12288+8192", "read 20480+4096",
          "write 20480+4096",
        ])
      #expect(same(try await node.bytes(1000, 20_000), pattern(20_000)))
    }
  }

  @Test(arguments: 0..<10)
  func aBreakpointStopsOneRequestUntilItIsResumed(seed: UInt64) async throws {
    try await simulated(seed: seed) { world in
      let disk = try Disk(world, BlkdebugRules())
      disk.debug.addBreakpoint(.writeAio, tag: "A")
      #expect(!disk.debug.isStopped(at: "A"))
      await withTaskGroup { group in
        group.addTask { #expect(await disk.write(0) == nil) }
        await disk.debug.waitForBreakpoint("A")
        #expect(disk.debug.isStopped(at: "A"))
        #expect(await disk.write(4096) == nil, "a breakpoint stops one request only")
        #expect(isZero((try? await disk.node.bytes(0, 512)) ?? [1]))
        #expect(throws: Never.self) { try disk.debug.resume("A") }
      }
      #expect(try await disk.node.bytes(0, 512) == pattern(512))
      let error = await failure { try disk.debug.resume("A") }
      #expect(error?.code == .notFound)
    }
  }

  @Test func removingABreakpointLetsItsRequestsGo() async throws {
    try await onDisk([]) { disk in
      disk.debug.addBreakpoint(.readAio, tag: "A")
      disk.debug.addBreakpoint(.readAio, tag: "A")
      disk.debug.addBreakpoint(.writeAio, tag: "A")
      await withTaskGroup { group in
        group.addTask { #expect(await disk.read() == nil) }
        await disk.debug.waitForBreakpoint("A")
        #expect(throws: Never.self) { try disk.debug.removeBreakpoint("A") }
      }
      #expect(await disk.read() == nil)
      #expect(await disk.write() == nil)
      let error = await failure { try disk.debug.removeBreakpoint("A") }
      #expect(error?.code == .notFound)
    }
  }

  @Test func removingABreakpointThatHasFiredLetsItsRequestGoAndSaysThatThereIsNone() async throws {
    try await onDisk([]) { disk in
      disk.debug.addBreakpoint(.readAio, tag: "A")
      await withTaskGroup { group in
        group.addTask { #expect(await disk.read() == nil) }
        await disk.debug.waitForBreakpoint("A")
        let error = await failure { try disk.debug.removeBreakpoint("A") }
        #expect(error?.code == .notFound)
      }
    }
  }

  @Test func aRequestAtSeveralBreakpointsGoesOnWhenEachHasLetItGo() async throws {
    try await onDisk([]) { disk in
      let seen = Notes()
      disk.debug.observeStops { seen.note("\($0)") }
      disk.debug.addBreakpoint(.writeAio, tag: "A")
      disk.debug.addBreakpoint(.writeAio, tag: "B")
      await withTaskGroup { group in
        group.addTask { #expect(await disk.write() == nil) }
        await disk.debug.waitForBreakpoint("A")
        #expect(throws: Never.self) { try disk.debug.resume("A") }
        #expect(await disk.read() == nil)
        #expect(disk.debug.isStopped(at: "B") && !disk.debug.isStopped(at: "A"))
        #expect(throws: Never.self) { try disk.debug.resume("B") }
      }
      #expect(
        seen.all == [
          "stopped(\"B\")", "stopped(\"A\")", "resumed(\"A\")", "resumed(\"B\")",
        ])
      #expect(!disk.debug.hasBreakpoints)
    }
  }

  @Test func ofSeveralRequestsUnderOneTagTheLastToStopGoesOnFirst() async throws {
    try await onDisk([]) { disk in
      let ended = Notes()
      await withTaskGroup { group in
        for index in 0..<2 {
          disk.debug.addBreakpoint(index == 0 ? .readAio : .writeAio, tag: "A")
          group.addTask {
            let failure = index == 0 ? await disk.read() : await disk.write()
            #expect(failure == nil)
            ended.note("\(index)")
          }
          while disk.debug.stopCount(at: "A") == index { await disk.node.world.yield() }
        }
        for _ in 0..<2 {
          #expect(throws: Never.self) { try disk.debug.resume("A") }
          await group.next()
        }
      }
      #expect(ended.all == ["1", "0"])
    }
  }
}
