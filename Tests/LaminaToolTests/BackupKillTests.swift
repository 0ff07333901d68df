import Foundation
import QEMUTools
import Testing

#if os(Linux)
/// `lamina backup create`, killed: the next run loses no change.
@Suite struct BackupKillTests {
  /// When it is killed: once the file with this name is there, and so many milliseconds later.
  static let moments: [(landmark: String, milliseconds: UInt32)] = [
    (".lock", 0), (".000001.qcow2.partial", 0), (".000001.qcow2.partial", 30),
    (".000001.qcow2.partial", 300), (".000001.qcow2.partial", 900), ("000001.qcow2", 0),
    ("000001.qcow2", 3),
  ]

  @Test(arguments: moments.indices)
  func aKilledRunLosesNoChange(moment: Int) throws {
    let command = try #require(LaminaCommand.path, "the command was not built beside the tests")
    let (landmark, milliseconds) = Self.moments[moment]
    try ToolFixture.run { tool in
      let disk = tool.path("disk.qcow2")
      let folder = tool.path("backups")
      func write(_ commands: String...) {
        for words in commands { #expect(tool.lamina("io", "-c", words, disk).status == 0) }
      }
      #expect(tool.lamina("create", "-q", "-f", "qcow2", disk, "64M").status == 0)
      write("write -P 1 0 3M")
      #expect(tool.lamina("backup", "create", disk, "--to", folder).status == 0)
      write("write -P 2 1M 2M", "write -z 40M 64k")

      let run = try ChildProcess(
        command, ["backup", "create", disk, "--to", folder, "--limit", "1M"])
      for _ in 0..<60_000 where !FileManager.default.fileExists(atPath: folder + "/" + landmark) {
        usleep(500)
      }
      usleep(milliseconds * 1000)
      run.interrupt(with: SIGKILL)
      let end = try run.finish()
      #expect(end.errors.isEmpty, "it was not killed, but failed: \(end)")
      // Once the backup has its name there is little left to be killed in.
      #expect(end.status == 128 + SIGKILL || landmark == "000001.qcow2", "it was too late: \(end)")

      write("write -P 3 50M 100k")
      #expect(tool.lamina("check", disk).status == 0 || tool.lamina("check", disk).status == 3)
      let made = tool.lamina("backup", "create", disk, "--to", folder)
      #expect(made.status == 0 && made.output.contains("incremental"), "\(made)")
      let copy = tool.path("copy.qcow2")
      #expect(tool.lamina("backup", "restore", folder, copy).status == 0)
      #expect(tool.lamina("compare", disk, copy).output == "Images are identical.\n")
    }
  }
}
#endif
