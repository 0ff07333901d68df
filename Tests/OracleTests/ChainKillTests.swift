import Foundation
import QEMUTools
import Testing

#if os(Linux)
/// `lamina backup create`, killed in the middle of a system call that a seed chooses: the next run
/// loses no change, and is incremental.
@Suite(
  .serialized,
  .enabled(if: QEMUTools.path(of: "strace") != nil, "strace is not installed"))
struct ChainKillTests {
  /// The calls in which a run is killed; each is as likely as any other, so that the rare steps are
  /// hit as often as the copying.
  private static let calls = [
    "pwrite64", "pread64", "fdatasync", "fsync", "rename", "unlink", "openat", "fcntl", "close",
    "ftruncate", "fallocate", "lseek", "access",
  ]
  private static let kills = Oracle.isLong ? 120 : 8

  @Test func aRunKilledAtAnyCallLosesNoChange() throws {
    let lamina = try #require(LaminaCommand.path, "the command was not built beside the tests")
    let strace = try #require(QEMUTools.path(of: "strace"))
    var random = SeededChoice(seed: 20_261_125)
    var killed = 0
    var tries = 0
    while killed < Self.kills, tries < 4 * Self.kills {
      tries += 1
      let call = Self.calls[random.next(below: Self.calls.count)]
      let number = 1 + random.next(below: call == "pwrite64" || call == "pread64" ? 24 : 6)
      let comment: Comment = "\(call) \(number), try \(tries)"
      try Oracle.withFolder { folder in
        let disk = folder + "disk.qcow2"
        let chain = folder + "chain"
        func write(_ command: String) {
          #expect(Oracle.lamina(["io", "-c", command, disk]).status == 0, comment)
        }
        #expect(Oracle.lamina(["create", "-q", "-f", "qcow2", disk, "16M"]).status == 0)
        write("write -P 1 0 1M")
        #expect(Oracle.lamina(["backup", "create", disk, "--to", chain]).status == 0)
        write("write -P 2 512k 1M")
        write("write -z 0 128k")

        // Each thread counts for itself.
        let run = try ChildProcess(
          strace,
          [
            "-f", "-o", "/dev/null", "-e", "trace=\(call)", "-e",
            "inject=\(call):signal=SIGKILL:when=\(number)", lamina, "backup", "create", disk,
            "--to", chain,
          ])
        let end = try run.finish()
        #expect(end.status == 0 || end.status == 128 + SIGKILL, "\(comment): \(end)")
        if end.status != 0 { killed += 1 }

        write("write -P 3 8M 100k")
        let made = Oracle.lamina(["backup", "create", disk, "--to", chain])
        #expect(made.output.contains("incremental"), "\(comment): \(made)")
        let verified = Oracle.lamina(["backup", "verify", chain, "--against", disk])
        #expect(verified.status == 0, "\(comment): \(verified)")
        let copy = folder + "copy.qcow2"
        #expect(Oracle.lamina(["backup", "restore", chain, copy]).status == 0, comment)
        #expect(Oracle.lamina(["compare", disk, copy]).status == 0, comment)
        #expect(Oracle.lamina(["check", disk]).status % 3 == 0, comment)  // leaks at worst
      }
    }
    #expect(killed >= Self.kills, "only \(killed) of \(tries) runs were killed")
  }
}

/// A generator that gives the same numbers everywhere.
private struct SeededChoice {
  private var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func next(below limit: Int) -> Int {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return Int(state >> 33) % limit
  }
}
#endif
