import LaminaTestKit
import Testing

/// Backups that are refused before anything is touched.
///
/// Source: QEMU's iotest 124, `test_sync_dirty_bitmap_missing` and its neighbours.
@Suite struct RefusedBackupTests {
  /// Plays a refusal: no event, no bitmap, no target, and a guest that notices nothing.
  private func expectRefusal(
    on stage: Stage, _ message: String,
    _ refused: @escaping @Sendable (BackupLab, LabDisk) async throws -> Void
  ) async throws {
    try await stage.play { scene in
      let disk = try await scene.lab.addDisk("drive0", holding: Fill.initial)
      let guest = scene.guest(on: disk)
      do {
        try await refused(scene.lab, disk)
        Issue.record("it was not refused, \(scene.seed)")
      } catch {
        #expect("\(error)".contains(message), scene.seed)
      }
      #expect(scene.lab.jobs.events.events == [], scene.seed)
      #expect(disk.node.bitmaps.all.isEmpty, scene.seed)
      #expect(!scene.lab.images.has("err.qcow2"), scene.seed)
      try scene.lab.checkAtRest()
      try await guest?.stop()
      scene.expectSuccess(try await disk.backup(), work: 64 << 20)
    }
  }

  @Test(arguments: Stage.allCases)
  func anIncrementalBackupWithoutABitmapIsRefused(stage: Stage) async throws {
    try await expectRefusal(
      on: stage, "must provide a valid bitmap name for 'incremental' sync mode"
    ) { lab, disk in
      try await lab.incremental(of: disk, bitmap: nil)
    }
  }

  @Test(arguments: Stage.allCases)
  func anIncrementalBackupWithAnUnknownBitmapIsRefused(stage: Stage) async throws {
    try await expectRefusal(on: stage, "Bitmap 'unknown' could not be found") { lab, disk in
      try await lab.incremental(of: disk, bitmap: "unknown")
    }
  }

  @Test(arguments: Stage.allCases)
  func aGranularityThatIsNoPowerOfTwoIsRefused(stage: Stage) async throws {
    try await expectRefusal(
      on: stage, "Granularity must be power of 2 and at least 512"
    ) { lab, disk in
      _ = try await lab.addBitmap("bitmap0", to: disk, granularity: 64000)
    }
  }
}

extension BackupLab {
  /// Asks for an incremental backup to a target of its own, which is gone if that is refused.
  fileprivate func incremental(of disk: LabDisk, bitmap: String?) async throws {
    try await images.create("err.qcow2", length: disk.node.length)
    let target = try await graph.open(images.path("err.qcow2"), OpenOptions(format: "qcow2"))
    do {
      _ = try await jobs.backup(
        BackupSpec(
          source: .named(disk.name), target: .node(target), sync: .incremental, bitmap: bitmap))
    } catch {
      try await graph.close(target)
      try images.remove("err.qcow2")
      throw error
    }
  }
}
