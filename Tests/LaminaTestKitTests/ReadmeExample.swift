import LaminaTestKit

/// The example of the module's README; `TestKitReadmeTests` compares the two.
func testKitReadmeExample(seed: UInt64) async throws {
  // example:begin
  try await BackupLab.run(in: World.simulated(seed: seed)) { lab in
    let disk = try await lab.addDisk("drive0")
    try await disk.write(Fill.initial)
    _ = try await disk.backup()  // a full backup
    let series = try await lab.addBitmap("since-backup", to: disk)
    try await disk.write(Fill.firstRound)
    let guest = GuestWorkload(on: disk)  // goes on writing while the job runs
    let run = try await series.backup()  // the increment is the disk as it was when the job began
    try await guest.stop()
    try EventScript([.backup("drive0", work: run.work)]).check(run.events)
    _ = try await series.backup()  // what was written meanwhile
    try await lab.checkBackups()  // chain = disk
    try lab.checkAtRest()
  }
  // example:end
}
