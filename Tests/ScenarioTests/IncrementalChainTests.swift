import LaminaTestKit
import Testing

/// Chains of incremental backups.
///
/// Source: QEMU's iotest 124, `test_incremental_simple` and its neighbours.
@Suite struct IncrementalChainTests {
  struct Row: Sendable, CustomTestStringConvertible {
    var granularity: Int?
    /// What is dirty after each round of writes, and what is copied for it.
    var dirty: [Int]
    var copied: [Int]
    var testDescription: String { "granularity \(granularity.map { "\($0 >> 10)K" } ?? "default")" }
  }

  static let rows = [
    Row(dirty: [0, 458_752, 1_507_328], copied: [0, 458_752, 1_507_328]),
    // Finer bits, rounded out to the copy cluster.
    Row(granularity: 32768, dirty: [0, 360_448, 1_441_792], copied: [0, 458_752, 1_507_328]),
    Row(granularity: 131072, dirty: [0, 655_360, 1_572_864], copied: [0, 655_360, 1_572_864]),
  ]

  /// A full backup, a hollow increment and two real ones.
  @Test(arguments: rows, Stage.allCases)
  func everyIncrementOfAChainIsTheDiskAtItsTime(row: Row, stage: Stage) async throws {
    try await stage.play { scene in
      let disk = try await scene.lab.addDisk("drive0", holding: Fill.initial)
      scene.expectSuccess(try await disk.backup(), work: 64 << 20)
      let series = try await scene.lab.addBitmap("bitmap0", to: disk, granularity: row.granularity)
      let guest = scene.guest(on: disk)
      for (round, fills) in [[], Fill.firstRound, Fill.secondRound].enumerated() {
        try await disk.write(fills)
        try await scene.expectBitmap(series, count: row.dirty[round])
        let older = images(of: series, in: scene)
        scene.expectSuccess(try await series.backup(), work: row.copied[round])
        try await scene.expectBitmap(series, count: 0)
        #expect(images(of: series, in: scene).starts(with: older), "older images have changed")
      }
      if !scene.hasGuest {
        let hollow = try await scene.lab.allocatedBytes(of: series.backups[0].target)
        #expect(hollow == 0)
      }
      try await scene.end([guest], [series])
    }
  }

  /// What the images of the increments are, byte for byte, if they are in memory.
  private func images(of series: BackupSeries, in scene: Scene) -> [UInt64] {
    series.backups.compactMap {
      scene.lab.images.simulatedDisk($0.target)?.visibleImage.signature
    }
  }

  /// A target with larger clusters and no backing file gets whole ones of them, so that a backing
  /// file can be put under it later.
  @Test(arguments: Stage.allCases)
  func aTargetWithLargerClustersIsPutOnItsChainLater(stage: Stage) async throws {
    try await stage.play { scene in
      let disk = try await scene.lab.addDisk("drive0", holding: Fill.initial)
      scene.expectSuccess(try await disk.backup(clusterSize: 128 << 10), work: 64 << 20)
      let series = try await scene.lab.addBitmap("bitmap0", to: disk)
      let guest = scene.guest(on: disk)
      try await disk.write(Fill.firstRound)
      try await scene.expectBitmap(series, count: 458_752)
      #expect(series.bitmap.granularity == 65536)
      let prepared = try await series.prepareBackup(clusterSize: 128 << 10, backed: false)
      scene.expectSuccess(try await prepared.run(), work: 5 * (128 << 10))
      try await scene.expectBitmap(series, count: 0)
      try await series.makeReference()
      if !scene.hasGuest { #expect(series.backups.allSatisfy { $0.reference != nil }) }
      try await scene.lab.rebase(prepared.target, onto: try #require(disk.anchor))
      try await scene.end([guest], [series])
    }
  }
}
