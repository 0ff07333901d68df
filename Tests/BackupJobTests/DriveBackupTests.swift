import BackupJob
import BlockLayer
import BlockTestKit
import DirtyBitmap
import Execution
import Lamina
import Primitives
import SystemPackage
import Testing

/// §4.6: backups whose target is a file that the job makes.
@Suite struct DriveBackupTests {
  private func withDisk(
    hasBacking: Bool = true,
    _ body: @escaping @Sendable (DriveBackupFixture) async throws -> Void
  ) async throws {
    try await simulate(seeds: 0..<2) { world in
      try await body(try await DriveBackupFixture(world, hasBacking: hasBacking))
    }
  }

  @Test func aFullBackupStandsAlone() async throws {
    try await withDisk { disk in
      let job = try await disk.jobs.driveBackup(disk.spec(.full))
      try await disk.guest.fill(9, at: 3 << 20, count: 512)
      #expect(await job.wait() == .success)
      #expect(disk.isAtRest)
      let target = try await disk.contents("t")
      #expect(target.bytes == [1, 2, 0, 0])
      #expect(target.backing == nil)
    }
  }

  @Test func anIncrementIsADeltaThatStandsAlone() async throws {
    try await withDisk { disk in
      try disk.node.addBitmap("b")
      try await disk.guest.fill(3, at: 2 << 20, count: 512)
      var spec = disk.spec(.incremental)
      spec.bitmap = "b"
      let job = try await disk.jobs.driveBackup(spec)
      #expect(await job.wait() == .success)
      let target = try await disk.contents("t")
      #expect(target.bytes == [0, 0, 3, 0])
      #expect(target.backing == nil)
    }
  }

  @Test func theTopLayerGoesOnTheSourcesBackingFile() async throws {
    try await withDisk { disk in
      let job = try await disk.jobs.driveBackup(disk.spec(.top))
      #expect(await job.wait() == .success)
      let target = try await disk.contents("t")
      #expect(target.bytes == [1, 2, 0, 0])
      #expect(target.backing == RecordedBacking(name: "base.qcow2", format: "qcow2"))
      #expect(job.progress == JobProgress(current: 1 << 20, total: 1 << 20))
    }
  }

  @Test func theTopOfADiskWithoutBackingFileIsAll() async throws {
    try await withDisk(hasBacking: false) { disk in
      let job = try await disk.jobs.driveBackup(disk.spec(.top))
      #expect(await job.wait() == .success)
      let target = try await disk.contents("t")
      #expect(target.bytes == [0, 2, 0, 0])
      #expect(target.backing == nil)
      #expect(job.progress.total == DriveBackupFixture.length)
    }
  }

  /// The target stands on the live disk while the job lives, and shows its moment.
  @Test func whatIsOverwrittenGoesOnTheSource() async throws {
    try await withDisk { disk in
      let job = try await disk.jobs.driveBackup(disk.spec(.none))
      let target = try #require(disk.graph.nodes.first { $0.backing === disk.node })
      let view = try BlockBackend(target, in: disk.graph, permissions: .reader)
      try await disk.guest.fill(9, at: 1 << 20, count: 1 << 20)
      #expect(try await view.read(at: 1 << 20, count: 1) == [2])
      #expect(try await view.read(at: 0, count: 1) == [1])
      await view.close()
      try job.cancel()
      #expect(await job.wait() == .cancelled)
      #expect(disk.isAtRest)
      let saved = try await disk.contents("t")
      #expect(saved.bytes == [1, 2, 0, 0])
      #expect(saved.backing == RecordedBacking(name: "disk.qcow2", format: "qcow2"))
    }
  }

  @Test func anotherFormatIsMade() async throws {
    try await withDisk { disk in
      let job = try await disk.jobs.driveBackup(disk.spec(.full, format: "raw"))
      #expect(await job.wait() == .success)
      #expect(try await disk.contents("t", format: "raw").bytes == [1, 2, 0, 0])
    }
  }

  @Test func aFileThatIsThereIsTakenAsItIs() async throws {
    try await withDisk { disk in
      try await disk.graph.createImage(
        at: disk.file("t"), format: "qcow2", NewImage(length: DriveBackupFixture.length))
      let spec = disk.spec(.full, format: "qcow2", mode: .existing)
      #expect(await (try await disk.jobs.driveBackup(spec)).wait() == .success)
      #expect(try await disk.contents("t").bytes == [1, 2, 0, 0])
      // `none` puts the live disk below it, whatever it records.
      try await disk.graph.createImage(
        at: disk.file("u"), format: "qcow2", NewImage(length: DriveBackupFixture.length))
      let none = try await disk.jobs.driveBackup(
        disk.spec(.none, to: "u", format: "qcow2", mode: .existing))
      #expect(disk.graph.nodes.contains { $0.backing === disk.node })
      try await disk.guest.fill(9, at: 0, count: 512)
      try none.cancel()
      _ = await none.wait()
      #expect(try await disk.contents("u").bytes == [1, 0, 0, 0])
      #expect(disk.isAtRest)
    }
  }

  @Test func anOlderFileIsOverwritten() async throws {
    try await withDisk { disk in
      try await disk.graph.createImage(
        at: disk.file("t"), format: "raw", NewImage(length: 9 << 20))
      #expect(await (try await disk.jobs.driveBackup(disk.spec(.full))).wait() == .success)
      #expect(try await disk.contents("t").bytes == [1, 2, 0, 0])
    }
  }

  @Test func refusalsHaveQEMUsTexts() async throws {
    try await withDisk { disk in
      for sync in [BackupSpec.Sync.top, .none] {
        await disk.refused(
          "Backing file not supported for file format 'raw'", disk.spec(sync, format: "raw"))
      }
      await disk.refused("Unknown file format 'x'", disk.spec(.full, format: "x"))
      await disk.refused(
        "Could not create 'DIR/no/t': No such file or directory", disk.spec(.full, to: "no/t"))
      await disk.refused(
        "Could not open 'DIR/no': No such file or directory",
        disk.spec(.full, to: "no", format: "qcow2", mode: .existing))
      for mode in DriveBackupSpec.Mode.allCases {
        for name in ["disk.qcow2", "base.qcow2"] {
          await disk.refused(
            "Failed to get \"write\" lock", disk.spec(.full, to: name, format: "qcow2", mode: mode))
        }
      }
      try await disk.graph.createImage(
        at: disk.file("r"), format: "raw", NewImage(length: 1 << 20))
      await disk.refused(
        "Image is not in qcow2 format",
        disk.spec(.full, to: "r", format: "qcow2", mode: .existing))
      await disk.refused(
        "Source and target image have different sizes",
        disk.spec(.full, to: "r", format: "raw", mode: .existing))
      try await disk.guest.flush()
      #expect(try await disk.contents("disk.qcow2").bytes == [1, 2, 0, 0])
    }
  }

  /// A command that can be refused is refused before it overwrites anything.
  @Test func aRefusedCommandLeavesAnOlderFileAlone() async throws {
    try await withDisk { disk in
      let first = try await disk.jobs.driveBackup(disk.spec(.full))
      _ = await first.wait()
      let changes: [@Sendable (inout DriveBackupSpec) -> Void] = [
        { $0.sync = .incremental }, { $0.bitmap = "x" }, { $0.bitmapMode = .always },
        { $0.maxWorkers = 0 }, { $0.maxChunk = -1 }, { $0.speed = -1 }, { $0.jobID = "1" },
        { $0.format = "x" }, { $0.filterNodeName = "n0" }, { $0.filterNodeName = "1" },
        { $0.filterNodeName = "drive0" }, { $0.maxChunk = 1 }, { $0.maxChunk = 65535 },
        {
          $0.sync = .none
          $0.format = "raw"
        },
      ]
      for change in changes {
        var spec = disk.spec(.full)
        change(&spec)
        await #expect(throws: JobError.self) { try await disk.jobs.driveBackup(spec) }
        #expect(try await disk.contents("t").bytes == [1, 2, 0, 0])
      }
      #expect(disk.isAtRest)
    }
  }

  /// Failed, cancelled, or never started: the target is closed, and stays.
  @Test func theTargetIsClosedHoweverTheJobEnds() async throws {
    try await withDisk { disk in
      await #expect(throws: JobError.self) {
        try await disk.jobs.transaction([.driveBackup(disk.spec(.full)), .abort])
      }
      #expect(disk.isAtRest)
      #expect(try await disk.contents("t").bytes == [0, 0, 0, 0])
      var late = disk.spec(.full)
      late.filterNodeName = "n0"
      await #expect(throws: JobError.self) { try await disk.jobs.driveBackup(late) }
      #expect(disk.isAtRest)
      var slow = disk.spec(.full)
      slow.speed = 1
      let job = try await disk.jobs.driveBackup(slow)
      try job.cancel()
      #expect(await job.wait() == .cancelled)
      #expect(disk.isAtRest)
      _ = try await disk.contents("t")
    }
  }

  /// A node of the user's that has no name and no other user, below the target of `none`.
  @Test func theSourceIsNotClosedWithTheTarget() async throws {
    try await withDisk { disk in
      try await disk.graph.createImage(
        at: disk.file("s"), format: "qcow2", NewImage(length: DriveBackupFixture.length))
      let source = try await disk.graph.open(disk.file("s"), OpenOptions(format: "qcow2"))
      var spec = disk.spec(.none)
      spec.source = .node(source)
      spec.jobID = "j"
      let job = try await disk.jobs.driveBackup(spec)
      try job.cancel()
      _ = await job.wait()
      #expect(disk.graph.nodes.contains { $0 === source }, "ended")
      // Refused when the target is open.
      try await disk.graph.createImage(
        at: disk.file("short"), format: "qcow2", NewImage(length: 1 << 20))
      spec.target = disk.file("short")
      spec.mode = .existing
      spec.format = "qcow2"
      await #expect(throws: JobError.self) { try await disk.jobs.driveBackup(spec) }
      #expect(disk.graph.nodes.contains { $0 === source }, "refused")
      #expect(source.parentEdges.isEmpty)
      try await disk.graph.close(source)
      #expect(disk.isAtRest)
    }
  }

  /// Who uses the target keeps it open; the job has made it complete.
  @Test func aTargetThatAnotherUsesIsFlushedAndStaysOpen() async throws {
    try await withDisk { disk in
      let job = try await disk.jobs.driveBackup(disk.spec(.none))
      let target = try #require(disk.graph.nodes.first { $0.backing === disk.node })
      let view = try BlockBackend(target, in: disk.graph, permissions: .reader)
      try await disk.guest.fill(9, at: 0, count: 2 << 20)
      try await disk.guest.flush()
      try job.cancel()
      #expect(await job.wait() == .cancelled)
      #expect(disk.jobs.jobs.isEmpty && disk.guest.node === disk.node)
      #expect(try await disk.contents("t").bytes == [1, 2, 0, 0])
      #expect(try await view.read(at: 1 << 20, count: 1) == [2])
      try await disk.graph.closeDisk(view)
      #expect(disk.isAtRest)
    }
  }

  /// Several drives to files in one transaction, as one group.
  @Test func backupsToFilesCanBeGrouped() async throws {
    try await withDisk { disk in
      try disk.node.addBitmap("b")
      try await disk.guest.fill(3, at: 2 << 20, count: 512)
      var spec = disk.spec(.incremental)
      spec.bitmap = "b"
      var full = disk.spec(.full, to: "u")
      full.source = "n0"
      full.jobID = "other"
      let jobs = try await disk.jobs.transaction(
        [.driveBackup(spec), .driveBackup(full)], completion: .grouped)
      try await disk.guest.fill(7, at: 0, count: 512)
      for job in jobs { #expect(await job.wait() == .success) }
      #expect(try await disk.contents("t").bytes == [0, 0, 3, 0])
      #expect(try await disk.contents("u").bytes == [1, 2, 3, 0])
      #expect(disk.isAtRest)
    }
  }
}
