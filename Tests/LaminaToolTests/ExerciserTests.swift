import Foundation
import Testing

@testable import LaminaTool

/// The tool called as `qemu-io`, without the original beside it.
@Suite struct ExerciserTests {
  private func run(
    _ tool: ToolFixture, _ words: [String], input: [String] = []
  ) -> (status: Int32, output: String, errors: String) {
    let console = Console.captured(input: input)
    let status = Tool(console: console, persona: .exerciser).run(words)
    return (status, console.printed.output, console.printed.errors)
  }

  private func commands(_ commands: [String]) -> [String] { commands.flatMap { ["-c", $0] } }

  private func withDisk(_ body: (ToolFixture, String) throws -> Void) throws {
    try ToolFixture.run { tool in
      let disk = tool.path("disk")
      try Data(count: 1 << 20).write(to: URL(filePath: disk))
      try body(tool, disk)
    }
  }

  @Test func everyFailureIsToldAndTheNextCommandRuns() throws {
    try withDisk { tool, disk in
      let answer = run(
        tool,
        ["-f", "raw", disk]
          + commands([
            "write -q -P 3 0 4k", "read -P 4 512 512", "read", "nosuch", "read x 1", "read -Z 0 1",
            "write -zP 1 0 1", "read 1M 1", "length",
          ]))
      #expect(answer.status == 1)
      let lines = answer.output.split(separator: "\n").filter { !$0.contains(" ops; ") }
      #expect(
        lines == [
          "Pattern verification failed at offset 512, 512 bytes",
          "read 512/512 bytes at offset 512",
          "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- x",
          "read [-abCqv] [-P pattern [-s off] [-l len]] off len"
            + " -- reads a number of bytes at a specified offset",
          "Only one of -z, -P, and -s can be specified at the same time",
          "read failed: Input/output error", "1 MiB",
        ])
      #expect(
        answer.errors == """
          bad argument count 0 to read, expected at least 2 arguments
          command "nosuch" not found
          read: invalid option -- 'Z'

          """)
    }
  }

  @Test func reportsOfStartedRequestsComeWhenSomethingIsWaitedFor() throws {
    try withDisk { tool, disk in
      let answer = run(
        tool, ["-f", "raw", disk] + commands(["aio_write 0 512", "length", "aio_flush", "length"]))
      let lines = answer.output.split(separator: "\n").filter { !$0.contains(" ops; ") }
      #expect(lines == ["1 MiB", "wrote 512/512 bytes at offset 0", "1 MiB"])
      #expect(answer.status == 0)
    }
  }

  @Test func inputIsPromptedFor() throws {
    try withDisk { tool, disk in
      let answer = run(
        tool, ["-f", "raw", disk], input: ["length", "", "close", "length", "quit"])
      #expect(answer.output == "qemu-io> 1 MiB\nqemu-io> qemu-io> qemu-io> qemu-io> ")
      #expect(answer.errors == "no file open, try 'help open'\n")
      #expect(answer.status == 1)
    }
  }

  @Test func aRequestStandsAtItsBreakpointUntilItIsResumed() throws {
    try withDisk { tool, disk in
      let script = [
        "break write_aio A", "aio_write -P 5 0 512", "wait_break A", "read -P 0 0 512", "resume A",
        "aio_flush", "read -P 5 0 512", "resume A", "wait_break A", "break nosuch B",
      ]
      let answer = run(tool, ["-f", "raw", "blkdebug::\(disk)"] + commands(script))
      let lines = answer.output.split(separator: "\n").filter { !$0.contains(" ops; ") }
      #expect(
        lines == [
          "blkdebug: Suspended request 'A'", "read 512/512 bytes at offset 0",
          "blkdebug: Resuming request 'A'", "wrote 512/512 bytes at offset 0",
          "read 512/512 bytes at offset 0",
          "Could not resume request: No such file or directory",
          "Could not wait for breakpoint A: No such file or directory",
          "Could not set breakpoint: No such file or directory",
        ])
      #expect(answer.status == 1)
    }
  }

  @Test func whatIsStoppedGoesOnWhenTheImageIsClosed() throws {
    try withDisk { tool, disk in
      let script = ["break write_aio A", "aio_write -P 5 0 512"]
      let answer = run(tool, ["-f", "raw", "blkdebug::\(disk)"] + commands(script))
      #expect(answer.status == 0)
      let bytes = try tool.bytes("disk")
      #expect(bytes.prefix(512) == Data(repeating: 5, count: 512))
    }
  }

  @Test func changesOfATemporaryImageLeaveTheFileAlone() throws {
    try withDisk { tool, disk in
      let answer = run(
        tool,
        ["-s", "-f", "raw", disk] + commands(["write -q -P 5 0 512", "read -q -P 5 0 512"]))
      #expect(answer.status == 0, "\(answer.output)\(answer.errors)")
      let bytes = try tool.bytes("disk")
      #expect(bytes == Data(count: 1 << 20))
    }
  }

  @Test func anImageOpenedAgainForReadingTakesNoWrites() throws {
    try withDisk { tool, disk in
      let script = ["reopen -r", "write 0 1", "reopen -w", "write -q -P 1 0 1", "reopen -r -w"]
      let answer = run(tool, ["-f", "raw", disk] + commands(script))
      #expect(
        answer.errors == """
          qemu-io: Block node is read-only
          qemu-io: Only one -r/-w option may be given

          """)
      let bytes = try tool.bytes("disk")
      #expect(bytes.first == 1)
    }
  }

  @Test(
    arguments: [
      (0, "00.00 sec"), (10_000_000, "00.01 sec"), (1_239_000_000, "01.23 sec"),
      (61_560_000_000, "0:01:01.56"), (33_900_190_000_000, "9:25:00.19"),
    ] as [(UInt64, String)])
  func timesAreToldAsQemuIOTellsThem(nanoseconds: UInt64, text: String) {
    let report = IOReport(
      verb: "read", offset: 0, count: 512, nanoseconds: nanoseconds, isTerse: false)
    #expect(report.text.contains("512 bytes, 1 ops; \(text) ("), "\(report.text)")
  }

  @Test(
    arguments: [
      (0.0, "0 bytes"), (1023, "1023 bytes"), (104.152921, "104.152921 bytes"), (1024, "1 KiB"),
      (1536, "1.500 KiB"), (1_048_575, "1023.999 KiB"), (1_048_577, "1 MiB"), (0x1p60, "1 EiB"),
    ] as [(Double, String)])
  func sizesAreToldAsQemuIOTellsThem(bytes: Double, text: String) {
    #expect(IOReport.size(bytes) == text)
  }
}
