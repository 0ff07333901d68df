import LaminaTestKit
import SystemPackage
import Testing

/// A lab finds what is wrong: each test breaks one thing by hand.
@Suite struct BackupLabTests {
  private func play(
    _ body: @escaping @Sendable (BackupLab, LabDisk, BackupSeries) async throws -> Void
  ) async throws {
    try await BackupLab.run(in: .simulated(seed: 7)) { lab in
      let disk = try await lab.addDisk("drive0", holding: Fill.initial)
      _ = try await disk.backup()
      let series = try await lab.addBitmap("b", to: disk)
      try await disk.write(Fill.firstRound)
      try await body(lab, disk, series)
    }
  }

  private func description(of body: () async throws -> Void) async -> String {
    do {
      try await body()
      return "nothing was thrown"
    } catch {
      return "\(error)"
    }
  }

  @Test func aBackupThatWasChangedIsFound() async throws {
    try await play { lab, _, series in
      let run = try await series.backup()
      try await lab.checkBackups()
      let node = try await lab.graph.open(lab.images.path(run.target), OpenOptions(format: "qcow2"))
      let door = try BlockBackend(node, in: lab.graph)
      try await door.write([1], at: 40 << 20)
      await door.close()
      try await lab.graph.close(node)
      let text = await description { try await lab.checkBackups() }
      #expect(text.contains("drive0.b.inc0.qcow2 is not drive0.b.ref0.qcow2"))
      #expect(text.contains("41943040"))
    }
  }

  @Test func aDiskThatWasChangedSinceTheLastBackupIsFound() async throws {
    try await play { lab, disk, series in
      _ = try await series.backup()
      try await disk.write([Fill(1, at: 3 << 20, count: 1)])
      let text = await description { try await lab.checkBackups() }
      #expect(text.hasPrefix("the chain of drive0.b.inc0.qcow2 is not the disk drive0"))
    }
  }

  @Test func aBitmapWithABitTooFewOrTooManyIsFound() async throws {
    try await play { _, disk, series in
      try await series.checkBitmap()
      try disk.node.addBitmap("other").record(ByteRange(5 << 20, 6 << 20))
      try series.bitmap.merge(disk.node.bitmaps.named("other"))
      #expect(
        await description { try await series.checkBitmap() } == "drive0: the bitmap 'b' is wrong: "
          + "0x500000..<0x510000 is dirty, and no request has dirtied it")
      try series.bitmap.clear()
      #expect(
        await description { try await series.checkBitmap() } == "drive0: the bitmap 'b' is wrong: "
          + "0x0..<0x10000 is clean, and a request has dirtied it")
    }
  }

  /// A backup that misses a write is not the disk as it was.
  @Test func aBitmapThatLostABitMakesAWrongBackup() async throws {
    try await play { _, disk, series in
      try series.bitmap.clear()
      let text = await description { _ = try await series.backup() }
      #expect(text.contains("is not the disk drive0 as it was when the backup began"))
      _ = disk
    }
  }

  @Test func aWriteBehindTheGuestsBackIsFound() async throws {
    try await play { _, disk, _ in
      try await disk.guest.write([9], at: 100)
      let text = await description { try await disk.perform(.read(ByteRange(0, 512))) }
      #expect(text == "drive0: the guest reads 9 at 100, where it wrote 171")
    }
  }

  @Test func aJobThatIsLeftIsFound() async throws {
    try await play { lab, disk, series in
      try lab.checkAtRest()
      let prepared = try await series.prepareBackup()
      guard case .backup(let spec) = prepared.action else { return }
      let job = try await lab.jobs.prepareBackup(spec)
      #expect(await description { try lab.checkAtRest() } == "jobs are left: drive0")
      try job.cancel()
      prepared.didBegin()
      let run = try await prepared.finish(job)
      #expect(run.result == .cancelled)
      #expect(!lab.images.has(run.target))
      try lab.checkAtRest()
      _ = disk
    }
  }

  @Test func aFailedIncrementLeavesNoImageAndTheNextOneHasItsName() async throws {
    try await play { lab, disk, series in
      try #require(lab.images.simulatedDisk("drive0.qcow2")).faults = .failing([.read], nth: 1)
      let failed = try await series.backup()
      #expect(failed.result.error?.message == "Input/output error")
      #expect(!lab.images.has(failed.target))
      let run = try await series.backup()
      #expect(run.result == .success && run.target == failed.target)
      try await lab.checkBackups()
      _ = disk
    }
  }

  @Test func aDiskFailsFromItsFirstFlushOn() async throws {
    try await BackupLab.run(in: .simulated(seed: 7)) { lab in
      let disk = try await lab.addDisk(
        "drive0", holding: Fill.initial, faults: .failing(.read, errno: .noSpace))
      #expect(try await disk.backup().result == .success)
      try await disk.write(Fill.firstRound)
      let run = try await disk.backup()
      #expect(run.result.error?.block?.errno == .noSpace)
      #expect(!lab.images.has(run.target))
    }
  }

  /// A write that failed half-way leaves old and new bytes: that is what a backup is made of.
  @Test func whatAFailedWriteLeftIsPartOfTheModel() async throws {
    try await play { lab, disk, series in
      try #require(lab.images.simulatedDisk("drive0.qcow2")).faults = FaultPlan([
        FaultPlan.Fault([.write], nth: 1, writtenBytes: 512)
      ])
      await #expect(throws: BlockError.self) {
        try await disk.write([Fill(0x77, at: 1 << 20, count: 1024)])
      }
      let range = ByteRange(offset: 1 << 20, count: 1024)
      #expect(Set(disk.history.image.bytes(range)) == [0x77, 0xd5])
      #expect(try await series.backup().result == .success)
      try await lab.checkBackups()
    }
  }

  /// On threads too, nothing of the model depends on the order of tasks.
  @Test func aLabOnThreadsKeepsAGuestAndItsBackupsApart() async throws {
    for _ in 0..<5 {
      try await BackupLab.run(in: .threaded()) { lab in
        let disk = try await lab.addDisk("drive0", holding: Fill.initial)
        let series = try await lab.addBitmap("b", to: disk)
        let guest = GuestWorkload(on: disk, count: 100)
        let full = try await disk.prepareBackup()
        let clear = Transaction.Action.clearBitmap(node: "drive0", name: "b")
        let jobs = try await lab.jobs.transaction([clear, full.action])
        full.didBegin()
        try await series.restart(with: try await full.finish(jobs[0]))
        for _ in 0..<2 { #expect(try await series.backup().result == .success) }
        try await guest.stop()
        #expect(guest.count > 0)
        #expect(try await series.backup().result == .success)
        try await lab.checkBackups()
        try lab.checkAtRest()
      }
    }
  }

  @Test func theSameSeedGivesTheSameRun() async throws {
    func signature(_ seed: UInt64) async throws -> UInt64? {
      let world = World.simulated(seed: seed)
      try await BackupLab.run(in: world) { lab in
        let disk = try await lab.addDisk("drive0", holding: Fill.initial)
        let guest = GuestWorkload(on: disk)
        _ = try await disk.backup()
        try await guest.stop()
      }
      return world.trace?.hash
    }
    let first = try await signature(3)
    #expect(first == (try await signature(3)))
    #expect(first != (try await signature(4)))
  }
}
