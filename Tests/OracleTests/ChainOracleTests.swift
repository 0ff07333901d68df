import Foundation
import QEMUTools
import Testing

/// Chains of backups beside the qemu tools: what QEMU writes between runs, what its tools say of
/// the files.
@Suite(
  .serialized,
  .enabled(
    if: QEMUTools.areInstalled && QEMUTools.hasSystem,
    "qemu-img, qemu-io and qemu-system-x86_64 are not installed"))
struct ChainOracleTests {
  /// A disk that qemu-img made, with data, a bitmap `own` of QEMU's, and a first backup.
  private func withChain(_ body: (String, String, String) throws -> Void) throws {
    try Oracle.withFolder { folder in
      let disk = folder + "disk.qcow2"
      let chain = folder + "chain"
      try QEMUTools.run("qemu-img", ["create", "-q", "-f", "qcow2", disk, "64M"])
      try QEMUTools.run("qemu-img", ["bitmap", "--add", "-g", "65536", disk, "own"])
      try qemu("write -P 1 0 3M", disk)
      let made = Oracle.lamina(["backup", "create", disk, "--to", chain])
      #expect(made.output.contains("full"), "\(made)")
      try expectRight(disk, chain)
      try body(disk, chain, folder)
    }
  }

  /// Writes by QEMU's block layer, which keeps the disk's persistent bitmaps.
  private func qemu(_ command: String, _ disk: String) throws {
    let answer = try QEMUTools.run("qemu-io", ["-f", "qcow2", "-c", command, disk])
    #expect(answer.status == 0, "\(answer)")
  }

  private func backup(_ disk: String, _ chain: String) -> (kind: String, text: String) {
    let made = Oracle.lamina(["backup", "create", disk, "--to", chain])
    #expect(made.status == 0, "\(made)")
    return (made.output.contains(": full") ? "full" : "incremental", made.output)
  }

  /// Every file of the chain is clean for qemu-img, and the last shows the disk.
  private func expectRight(_ disk: String, _ chain: String) throws {
    let files = try FileManager.default.contentsOfDirectory(atPath: chain)
      .filter { $0.hasSuffix(".qcow2") }.sorted()
    for file in files {
      let check = try QEMUTools.run("qemu-img", ["check", "-q", chain + "/" + file])
      #expect(check.status == 0, "\(file): \(check)")
    }
    let last = chain + "/" + (files.last ?? "")
    let same = try QEMUTools.run("qemu-img", ["compare", "-f", "qcow2", "-F", "qcow2", last, disk])
    #expect(same.output == "Images are identical.\n", "\(same)")
    let check = try QEMUTools.run("qemu-img", ["check", "-q", disk])
    #expect(check.status == 0, "\(check)")
    let verified = Oracle.lamina(["backup", "verify", chain, "--against", disk])
    #expect(verified.status == 0, "\(verified)")
  }

  private func isOwnBitmapValid(_ disk: String) throws -> Bool {
    let info = try QEMUTools.run("qemu-img", ["info", "--output=json", disk]).output
    let json = try JSONSerialization.jsonObject(with: Data(info.utf8)) as? [String: Any]
    let specific = json?["format-specific"] as? [String: Any]
    let data = specific?["data"] as? [String: Any]
    let bitmaps = data?["bitmaps"] as? [[String: Any]] ?? []
    return bitmaps.contains {
      $0["name"] as? String == "own" && ($0["flags"] as? [String] ?? []) == ["auto"]
    }
  }

  @Test func whatQEMUWritesBetweenRunsIsInTheNextBackup() throws {
    try withChain { disk, chain, _ in
      for (round, command) in ["write -P 2 1M 2M", "write -z 0 1M", "discard 2M 1M"].enumerated() {
        try qemu(command, disk)
        try qemu("write -P \(round + 3) \(40 + round)M 100k", disk)
        let made = backup(disk, chain)
        #expect(made.kind == "incremental", "\(made.text)")
        try expectRight(disk, chain)
      }
      #expect(try isOwnBitmapValid(disk))
    }
  }

  @Test func aDiskThatQEMUResizedShowsNoOldBytes() throws {
    try withChain { disk, chain, folder in
      try qemu("write -P 9 60M 1M", disk)
      #expect(backup(disk, chain).kind == "incremental")
      try QEMUTools.run("qemu-img", ["resize", "-q", disk, "70M"])
      #expect(backup(disk, chain).kind == "incremental")
      try expectRight(disk, chain)
      let shrunk = try QEMUTools.run("qemu-img", ["resize", "-q", "--shrink", disk, "32M"])
      #expect(shrunk.status == 0, "\(shrunk)")
      #expect(backup(disk, chain).kind == "incremental")
      try expectRight(disk, chain)
      try QEMUTools.run("qemu-img", ["resize", "-q", disk, "64M"])
      #expect(backup(disk, chain).kind == "incremental")
      try expectRight(disk, chain)
      // Both between two runs: no mark of the bitmap tells, so that all is copied.
      try qemu("write -P 7 50M 1M", disk)
      #expect(backup(disk, chain).kind == "incremental")
      try QEMUTools.run("qemu-img", ["resize", "-q", "--shrink", disk, "32M"])
      try QEMUTools.run("qemu-img", ["resize", "-q", disk, "64M"])
      let made = backup(disk, chain)
      #expect(made.kind == "full" && made.text.contains("shrank and grew"), "\(made.text)")
      try expectRight(disk, chain)
      let copy = folder + "was.raw"
      #expect(
        Oracle.lamina(["backup", "restore", chain, copy, "--at", "1", "-O", "raw"]).status == 0)
      #expect(FileManager.default.contents(atPath: copy)?[60 << 20] == 9)
    }
  }

  @Test func aDiskThatAMachineHasOpenIsLeftAlone() throws {
    try withChain { disk, chain, _ in
      let machine = try QEMUTools.start("qemu-io", ["-f", "qcow2", disk])
      try machine.send("write -P 5 0 64k\n")
      try waitUntilInUse(disk)
      let refused = Oracle.lamina(["backup", "create", disk, "--to", chain])
      #expect(refused.status == 1 && refused.errors.split(separator: "\n").count == 1)
      #expect(refused.errors.contains("lock") || refused.errors.contains("in use"), "\(refused)")
      try machine.send("quit\n")
      _ = try machine.finish()
      #expect(backup(disk, chain).kind == "incremental")
      try expectRight(disk, chain)
    }
  }

  @Test(arguments: ["qemu-io", "lamina"])
  func aWriterThatWasKilledGivesAFullBackupAndItSaysWhy(writer: String) throws {
    let lamina = try #require(LaminaCommand.path, "the command was not built beside the tests")
    try withChain { disk, chain, _ in
      let process =
        writer == "lamina"
        ? try ChildProcess(lamina, ["io", disk])
        : try QEMUTools.start("qemu-io", ["-f", "qcow2", disk])
      try process.send("write -P 5 7M 64k\nflush\n")
      try waitUntilInUse(disk)
      process.interrupt(with: SIGKILL)
      _ = try process.finish()
      let made = backup(disk, chain)
      #expect(made.kind == "full" && made.text.contains("not closed by its last writer"), "\(made)")
      let last = try #require(
        FileManager.default.contentsOfDirectory(atPath: chain).filter { $0.hasSuffix(".qcow2") }
          .max())
      let same = try QEMUTools.run(
        "qemu-img", ["compare", "-f", "qcow2", "-F", "qcow2", chain + "/" + last, disk])
      #expect(same.output == "Images are identical.\n", "\(same)")
      #expect(backup(disk, chain).kind == "incremental")
    }
  }

  /// Waits until a writer has marked the disk's bitmaps as in use.
  private func waitUntilInUse(_ disk: String) throws {
    for _ in 0..<1000 {
      if try QEMUTools.run("qemu-img", ["info", "-U", disk]).output.contains("in-use") { return }
      usleep(10_000)
    }
    Issue.record("no writer opened the disk")
  }
}
