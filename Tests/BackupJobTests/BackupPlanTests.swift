import BackupJob
import BlockLayer
import BlockTestKit
import DirtyBitmap
import Execution
import Primitives
import Testing

/// Row J31 and §4.2: what is refused, with which text, in which order.
@Suite struct BackupPlanTests {
  private typealias Change = @Sendable (inout BackupSpec) -> Void

  /// Checks that the specification is refused with `message`, and that nothing was touched.
  private func refused(
    _ message: String, events: [JobStatus] = [], _ fixture: BackupFixture,
    _ change: (inout BackupSpec) -> Void
  ) async throws {
    var spec = BackupSpec(source: "drive0", target: "t", sync: .full, jobID: "j")
    change(&spec)
    let nodes = fixture.graph.nodes.map(\.name)
    _ = fixture.jobs.events.take()
    do {
      _ = try await fixture.jobs.backup(spec)
      Issue.record("not refused: \(message)")
    } catch {
      #expect(error.message == message)
    }
    #expect(
      fixture.jobs.events.take() == events.map { .statusChanged(id: spec.jobID ?? "", status: $0) },
      "\(message)")
    #expect(fixture.graph.nodes.map(\.name) == nodes, "\(message)")
    #expect(fixture.isAtRest, "\(message)")
  }

  @Test func aTargetThatCannotCompressIsRefused() async throws {
    try await withFixture(seeds: 0..<1) { fixture in
      try await refused("Compression is not supported for this drive ", fixture) {
        $0.compresses = true
        $0.maxWorkers = 0
      }
    }
  }

  @Test func modesThatMakeNoSenseAreRefused() async throws {
    try await withFixture(seeds: 0..<1) { fixture in
      try fixture.sourceNode.addBitmap("b")
      try await refused("must provide a valid bitmap name for 'incremental' sync mode", fixture) {
        $0.sync = .incremental
        $0.bitmapMode = .never
      }
      try await refused("must provide a valid bitmap name for 'bitmap' sync mode", fixture) {
        $0.sync = .bitmap
      }
      for mode in [BackupSpec.BitmapMode.never, .always] {
        try await refused(
          "Bitmap sync mode must be 'on-success' when using sync mode 'incremental'", fixture
        ) {
          $0.sync = .incremental
          $0.bitmap = "unknown"
          $0.bitmapMode = mode
        }
      }
      for sync in [BackupSpec.Sync.incremental, .full] {
        try await refused("Bitmap 'x' could not be found", fixture) {
          $0.sync = sync
          $0.bitmap = "x"
        }
      }
      for sync in [BackupSpec.Sync.full, .top, .none, .bitmap] {
        try await refused("Bitmap sync mode must be given when providing a bitmap", fixture) {
          $0.sync = sync
          $0.bitmap = "b"
        }
      }
      for mode in BackupSpec.BitmapMode.allCases {
        try await refused("sync mode 'none' does not produce meaningful bitmap outputs", fixture) {
          $0.sync = .none
          $0.bitmap = "b"
          $0.bitmapMode = mode
        }
        for sync in [BackupSpec.Sync.full, .top, .none] {
          try await refused("Cannot specify bitmap sync mode without a bitmap", fixture) {
            $0.sync = sync
            $0.bitmapMode = mode
          }
        }
      }
      for sync in ["full", "top"] {
        try await refused(
          "Bitmap sync mode 'never' has no meaningful effect when combined with sync mode "
            + "'\(sync)'", fixture
        ) {
          $0.sync = BackupSpec.Sync(rawValue: sync) ?? .none
          $0.bitmap = "b"
          $0.bitmapMode = .never
        }
      }
    }
  }

  @Test func nodesAndNumbersAreChecked() async throws {
    try await withFixture(seeds: 0..<1) { fixture in
      try await refused("Cannot find device='x' nor node-name='x'", fixture) { $0.source = "x" }
      try await refused("Cannot find device='y' nor node-name='y'", fixture) { $0.target = "y" }
      try await refused("Source and target cannot be the same", fixture) { $0.target = "n0" }
      for workers in [0, -1, 1 << 31] {
        try await refused("max-workers must be between 1 and 2147483647", fixture) {
          $0.maxWorkers = workers
        }
      }
      try await refused("max-chunk must be zero (which means no limit) or positive", fixture) {
        $0.maxChunk = -1
      }
      try await refused(
        "Required max-chunk (4096) is less than backup cluster size (65536)", fixture
      ) {
        $0.maxChunk = 4096
        $0.jobID = "1j"
        $0.speed = -1
      }
      try await refused("Invalid job ID '1j'", fixture) {
        $0.jobID = "1j"
        $0.speed = -1
      }
      try await refused(
        "Parameter 'speed' expects a non-negative value", events: [.created, .null], fixture
      ) { $0.speed = -1 }
    }
  }

  /// Row J48.
  @Test func aChunkIsAtLeastACluster() async throws {
    try await withFixture(seeds: 0..<1, length: 4 << 20, targetClusterSize: 2 << 20) { fixture in
      try await refused(
        "Required max-chunk (65536) is less than backup cluster size (2097152)", fixture
      ) { $0.maxChunk = 65536 }
    }
    try await withFixture(seeds: 0..<1) { fixture in
      var spec = fixture.spec(.full)
      spec.maxChunk = 100000
      let job = try await fixture.jobs.backup(spec)
      #expect(await job.wait() == .success)
      #expect(fixture.target.written.allSatisfy { $0.count == 65536 })
    }
  }

  /// Row J33.
  @Test func theTargetHasTheSourcesLengthAndCanBeWritten() async throws {
    try await withFixture(seeds: 0..<1) { fixture in
      let lengths = [("short", (1 << 20) - 512), ("long", (1 << 20) + 512)]
      for (name, length) in lengths {
        let disk = SimulatedDisk(SparseImage(length: length), in: fixture.world)
        _ = try fixture.graph.addNode(disk, name: name)
        try await refused("Source and target image have different sizes", fixture) {
          $0.target = .named(name)
        }
      }
      let disk = SimulatedDisk(SparseImage(length: 1 << 20), in: fixture.world)
      _ = try fixture.graph.addNode(disk, name: "ro", options: NodeOptions(isReadOnly: true))
      try await refused("Could not create node: Block node is read-only", fixture) {
        $0.target = "ro"
      }
    }
  }

  /// Row J49.
  @Test func theFiltersNameIsChecked() async throws {
    try await withFixture(seeds: 0..<1) { fixture in
      let texts = [
        "n0": "Duplicate nodes with node-name='n0'",
        "drive0": "node-name=drive0 is conflicting with a device id",
        "0x": "Invalid node-name: '0x'",
      ]
      for name in texts.keys.sorted() {
        try await refused("Could not create node: \(texts[name] ?? "")", fixture) {
          $0.filterNodeName = name
          $0.maxChunk = 1
        }
      }
    }
  }

  /// Row J55.
  @Test func aNodeWithoutADeviceNeedsAJobID() async throws {
    try await withFixture(seeds: 0..<1) { fixture in
      _ = try fixture.addTarget("u")
      let spec = BackupSpec(source: "u", target: "t", sync: .full)
      await #expect(throws: JobError(.identifier, "Invalid job ID ''")) {
        try await fixture.jobs.backup(spec)
      }
      #expect(fixture.isAtRest)
      let named = BackupSpec(source: "n0", target: "t", sync: .full)
      let job = try await fixture.jobs.backup(named)
      #expect(job.id == "drive0")
      await fixture.jobs.cancelAll()
    }
  }

  /// §1.5.
  @Test func aRunningJobKeepsItsNodesBusy() async throws {
    try await withFixture(seeds: 0..<1) { fixture in
      let bitmap = try fixture.sourceNode.addBitmap("b")
      _ = try fixture.addTarget("u")
      let job = try await fixture.jobs.prepareBackup(fixture.spec(.incremental, bitmap: "b"))
      #expect(bitmap.isBusy)
      let busy = "is busy: block device is in use by block job: backup"
      let attempts: [(BackupSpec.Place, BackupSpec.Place, String)] = [
        ("n0", "t", "Node 't' \(busy)"), ("t", "u", "Node 't' \(busy)"),
        ("drive0", "u", "Node 'drive0' \(busy)"),
      ]
      for (source, target, message) in attempts {
        let spec = BackupSpec(source: source, target: target, sync: .full, jobID: "k")
        await #expect(throws: JobError(.busy, message)) { try await fixture.jobs.backup(spec) }
      }
      let spec = BackupSpec(source: "n0", target: "u", sync: .incremental, bitmap: "b", jobID: "k")
      let error = await #expect(throws: JobError.self) { try await fixture.jobs.backup(spec) }
      #expect(
        error?.message
          == "Bitmap 'b' is currently in use by another operation and cannot be used")
      await #expect(throws: BlockError.self) { try await fixture.graph.close(fixture.targetNode) }
      await #expect(throws: BlockError.self) { try await fixture.guest.resize(to: 4096) }
      try job.cancel()
      _ = await job.wait()
      #expect(fixture.isAtRest)
    }
  }

  /// §1.4: what is below the filter is written through the filter only.
  @Test func nobodyWritesBelowTheFilter() async throws {
    try await withFixture(seeds: 0..<1) { fixture in
      let job = try await fixture.jobs.prepareBackup(fixture.spec(.full))
      let error = #expect(throws: BlockError.self) {
        try BlockBackend(fixture.sourceNode, in: fixture.graph)
      }
      #expect(error?.code == .permissionConflict)
      try job.cancel()
      _ = await job.wait()
      let late = try BlockBackend(fixture.sourceNode, in: fixture.graph)
      await late.close()
    }
  }

  @Test func aTargetThatOthersDoNotLetBeWrittenIsRefused() async throws {
    try await withFixture(seeds: 0..<1) { fixture in
      let reader = try BlockEdge(
        .root, to: fixture.targetNode,
        permissions: EdgePermissions(taken: .consistentRead, shared: .consistentRead))
      let spec = fixture.spec(.full)
      let error = await #expect(throws: JobError.self) { try await fixture.jobs.backup(spec) }
      #expect(
        error?.message.hasPrefix(
          "Could not create node: Permission conflict on node 't': permissions 'write' are both "
            + "required by") == true)
      reader.detach()
      #expect(fixture.isAtRest)
    }
  }
}
