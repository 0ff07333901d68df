import Foundation
import Synchronization
import Testing

/// `lamina backup` on real files.
@Suite struct BackupFolderTests {
  private func withDisk(_ body: (ToolFixture, String, String) throws -> Void) throws {
    try ToolFixture.run { tool in
      let disk = tool.path("disk.qcow2")
      #expect(tool.lamina("create", "-q", "-f", "qcow2", disk, "64M").status == 0)
      #expect(
        tool.lamina("io", "-c", "write -P 0x41 0 512", "-c", "write -P 2 32M 124k", disk).status
          == 0)
      try body(tool, disk, tool.path("backups"))
    }
  }

  @Test(arguments: ["32K", "64K", "128K"])
  func eachBackupOfAChainShowsTheDiskAsItWas(granularity: String) throws {
    try withDisk { tool, disk, folder in
      let writes = [[], ["write -P 0xab 0 512", "write -P 0xfe 16M 256k"], ["write -P 9 8M 352k"]]
      for (number, commands) in writes.enumerated() {
        for command in commands { #expect(tool.lamina("io", "-c", command, disk).status == 0) }
        let made = tool.lamina(
          "backup", "create", disk, "--to", folder, "--granularity", granularity)
        #expect(made.status == 0, "\(made.errors)")
        #expect(made.output.contains(number == 0 ? "full" : "incremental"), "\(made.output)")
        let copy = tool.path("was\(number).raw")
        #expect(tool.lamina("backup", "restore", folder, copy, "-O", "raw").status == 0)
      }
      for number in writes.indices {
        let again = tool.path("again\(number).qcow2")
        #expect(
          tool.lamina("backup", "restore", folder, again, "--at", String(number)).status == 0)
        let same = tool.lamina(
          "compare", "-f", "raw", "-F", "qcow2", tool.path("was\(number).raw"), again)
        #expect(same.output == "Images are identical.\n")
        #expect(tool.lamina("check", tool.path("backups/00000\(number).qcow2")).status == 0)
      }
      #expect(tool.lamina("check", disk).status == 0)
    }
  }

  @Test func aLostBitmapGivesAFullBackupAndSaysWhy() throws {
    try withDisk { tool, disk, folder in
      #expect(tool.lamina("backup", "create", disk, "--to", folder).status == 0)
      let listed = tool.lamina("bitmap", "list", disk).output
      let name = String(listed.prefix { $0 != "\t" })
      #expect(tool.lamina("bitmap", "remove", disk, name).status == 0)
      let made = tool.lamina("backup", "create", disk, "--to", folder)
      #expect(made.output.contains("full") && made.output.contains("was removed"))
    }
  }

  /// Makes backup 1 fail when it is copied and has no name yet.
  private func failToRename(_ tool: ToolFixture, _ disk: String, _ folder: String) throws {
    // The copy takes seconds; meanwhile its name is taken by what no file can replace.
    let obstacle = folder + "/000001.qcow2"
    let failed = tool.run(
      until: folder + "/.000001.qcow2.partial",
      ["backup", "create", disk, "--to", folder, "--limit", "1M"],
      meanwhile: {
        try? FileManager.default.createDirectory(
          atPath: obstacle + "/x", withIntermediateDirectories: true)
      })
    #expect(failed.status != 0 && failed.errors.contains("Could not rename"), "\(failed.errors)")
    try FileManager.default.removeItem(atPath: obstacle)
  }

  @Test func anErrorAfterTheCopyTakesNothingFromTheBitmap() throws {
    try withDisk { tool, disk, folder in
      #expect(tool.lamina("backup", "create", disk, "--to", folder).status == 0)
      #expect(tool.lamina("io", "-c", "write -P 7 8M 3M", disk).status == 0)
      try failToRename(tool, disk, folder)
      let made = tool.lamina("backup", "create", disk, "--to", folder)
      #expect(made.output.contains("incremental, 3 MiB"), "\(made.output)\(made.errors)")
      let copy = tool.path("copy.qcow2")
      #expect(tool.lamina("backup", "restore", folder, copy).status == 0)
      #expect(tool.lamina("compare", disk, copy).status == 0)
    }
  }

  @Test func aBitmapThatAFailedRunLeftIsNotTakenForAnotherDisksBackup() throws {
    try withDisk { tool, disk, folder in
      #expect(tool.lamina("backup", "create", disk, "--to", folder).status == 0)
      #expect(tool.lamina("io", "-c", "write -P 7 8M 3M", disk).status == 0)
      try failToRename(tool, disk, folder)
      // Another disk of that size makes the backup of that number.
      let other = tool.path("other.qcow2")
      #expect(tool.lamina("create", "-q", "-f", "qcow2", other, "64M").status == 0)
      try tool.expectRefusal("never belonged", "backup", "create", other, "--to", folder)
      let adopted = tool.lamina("backup", "create", other, "--to", folder, "--adopt")
      #expect(adopted.output.contains("full"))
      let made = tool.lamina("backup", "create", disk, "--to", folder)
      #expect(made.output.contains("full") && made.output.contains("another disk"), "\(made)")
      let copy = tool.path("copy.qcow2")
      #expect(tool.lamina("backup", "restore", folder, copy).status == 0)
      #expect(tool.lamina("compare", disk, copy).status == 0)
    }
  }

  @Test func whileOneRunMakesABackupAnotherIsRefused() throws {
    try withDisk { tool, disk, folder in
      #expect(tool.lamina("backup", "create", disk, "--to", folder).status == 0)
      let other = tool.path("other.qcow2")
      #expect(tool.lamina("create", "-q", "-f", "qcow2", other, "1M").status == 0)
      #expect(tool.lamina("io", "-c", "write -P 7 8M 1M", disk).status == 0)
      let refusals = Refusals()
      let made = tool.run(
        until: folder + "/.000001.qcow2.partial",
        ["backup", "create", disk, "--to", folder, "--limit", "512K"],
        meanwhile: { refusals.add(tool.lamina("backup", "create", other, "--to", folder).errors) })
      #expect(made.status == 0, "\(made.errors)")
      let isRefused = refusals.all.contains { $0.contains("another run is at work") }
      #expect(isRefused, "\(refusals.all)")
    }
  }

  private final class Refusals: Sendable {
    private let list = Mutex<[String]>([])
    var all: [String] { list.withLock { $0 } }
    func add(_ text: String) { list.withLock { $0.append(text) } }
  }

  @Test func aRawDiskIsRestoredWithItsHoles() throws {
    try withDisk { tool, disk, folder in
      #expect(tool.lamina("backup", "create", disk, "--to", folder).status == 0)
      let copy = tool.path("copy.raw")
      #expect(tool.lamina("backup", "restore", folder, copy, "-O", "raw").status == 0)
      var status = stat()
      #expect(stat(copy, &status) == 0 && status.st_size == 64 << 20)
      #expect(status.st_blocks * 512 <= 1 << 20, "\(status.st_blocks * 512) bytes of 64 MiB taken")
    }
  }

  @Test func holesInFilesAreNoChanges() throws {
    try withDisk { tool, disk, folder in
      // New clusters of which a part was written: the rest is a hole of the file.
      let writes = (0..<200).flatMap { ["-c", "write -P 5 \($0 * 64 + 4096)k 4k"] }
      #expect(tool.lamina(["io"] + writes + [disk]).status == 0)
      #expect(tool.lamina("backup", "create", disk, "--to", folder).status == 0)
      for _ in 0..<2 {
        let made = tool.lamina("backup", "create", disk, "--to", folder)
        #expect(made.output.contains("incremental, 0 B"), "\(made)")
      }
    }
  }

  @Test func aSparseCopyOfAFolderIsAsGood() throws {
    try withDisk { tool, disk, folder in
      let writes = (0..<64).flatMap { ["-c", "write -P 5 \($0 * 64 + 4096)k 4k"] }
      #expect(tool.lamina(["io"] + writes + [disk]).status == 0)
      #expect(tool.lamina("backup", "create", disk, "--to", folder).status == 0)
      let file = folder + "/000000.qcow2"
      let bytes = try #require(FileManager.default.contents(atPath: file))
      try FileManager.default.removeItem(atPath: file)
      #expect(FileManager.default.createFile(atPath: file, contents: nil))
      let handle = try #require(FileHandle(forWritingAtPath: file))
      for start in stride(from: 0, to: bytes.count, by: 4096) {
        let piece = bytes[start..<min(start + 4096, bytes.count)]
        if piece.contains(where: { $0 != 0 }) {
          try handle.seek(toOffset: UInt64(start))
          try handle.write(contentsOf: piece)
        }
      }
      try handle.truncate(atOffset: UInt64(bytes.count))
      try handle.close()
      let verified = tool.lamina("backup", "verify", folder)
      #expect(verified.status == 0 && verified.output == "Backup 0: good\n", "\(verified)")
    }
  }

  @Test func aFolderThatVanishesCostsNoChange() throws {
    try withDisk { tool, disk, folder in
      #expect(tool.lamina("backup", "create", disk, "--to", folder).status == 0)
      #expect(tool.lamina("io", "-c", "write -P 7 8M 3M", disk).status == 0)
      let away = tool.path("away")
      let failed = tool.run(
        until: folder + "/.000001.qcow2.partial",
        ["backup", "create", disk, "--to", folder, "--limit", "2M"],
        meanwhile: { try? FileManager.default.moveItem(atPath: folder, toPath: away) })
      #expect(failed.status == 1 && failed.errors.contains("nothing was lost"), "\(failed)")
      #expect(failed.errors.split(separator: "\n").count == 1, "\(failed)")
      try FileManager.default.moveItem(atPath: away, toPath: folder)
      let made = tool.lamina("backup", "create", disk, "--to", folder)
      #expect(made.output.contains("incremental, 3 MiB"), "\(made)")
      #expect(tool.lamina("backup", "verify", folder, "--against", disk).status == 0)
    }
  }

  @Test func noFolderIsMadeForADiskThatIsNone() throws {
    try withDisk { tool, _, folder in
      let other = tool.path("other.img")
      #expect(FileManager.default.createFile(atPath: other, contents: Data("text".utf8)))
      try tool.expectRefusal("other.img", "backup", "create", other, "--to", folder)
      try tool.expectRefusal("No such file", "backup", "create", other + "x", "--to", folder)
      #expect(!FileManager.default.fileExists(atPath: folder))
    }
  }

  @Test func aFolderWithoutAChainIsNotRestored() throws {
    try withDisk { tool, _, folder in
      try tool.expectRefusal(
        "no folder of backups", "backup", "restore", folder, tool.path("out.qcow2"))
    }
  }
}
