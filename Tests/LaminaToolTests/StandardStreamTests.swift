import Foundation
import QEMUTools
import Testing

#if os(Linux)
/// The command in a process of its own: what closed streams and signals do to its work.
@Suite struct StandardStreamTests {
  /// Runs `script`, to which the command is `$0`, and the fixture's source and target `$1`, `$2`.
  private func run(
    _ script: String, _ check: (_ tool: ToolFixture, _ answer: ChildProcess.Answer) throws -> Void
  ) throws {
    let command = try #require(LaminaCommand.path, "the command was not built beside the tests")
    try ToolFixture.run { tool in
      let bytes = Data((0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 / 7) })
      try bytes.write(to: URL(filePath: tool.path("source")))
      let shell = try ChildProcess(
        "/bin/sh", ["-c", script, command, tool.path("source"), tool.path("target")])
      try check(tool, shell.finish())
    }
  }

  @Test func nothingIsPrintedIntoAnImageWhenTheStreamsAreClosed() throws {
    try run(#""$0" convert -p -f raw -O raw "$1" "$2" <&- >&- 2>&-"#) { tool, answer in
      #expect(answer.status == 0)
      let copy = try tool.bytes("target").prefix(3_000_000)
      let source = try tool.bytes("source")
      #expect(copy == source)
    }
  }

  @Test func aReaderThatGoesAwayEndsNoWork() throws {
    try run(#""$0" convert -p -r 30M -f raw -O raw "$1" "$2" | true"#) { tool, answer in
      #expect(answer.status == 0)
      let copy = try tool.bytes("target").prefix(3_000_000)
      let source = try tool.bytes("source")
      #expect(copy == source)
    }
  }

  @Test(arguments: [(SIGTERM, Int32(143)), (SIGINT, Int32(130))])
  func whatASignalEndsLeavesNoImage(number: Int32, status: Int32) throws {
    let command = try #require(LaminaCommand.path, "the command was not built beside the tests")
    try ToolFixture.run { tool in
      let bytes = Data(repeating: 5, count: 20_000_000)
      try bytes.write(to: URL(filePath: tool.path("source")))
      let words = ["convert", "-r", "1M", "-f", "raw", "-O", "qcow2"]
      let run = try ChildProcess(command, words + [tool.path("source"), tool.path("target")])
      for _ in 0..<60_000 where !FileManager.default.fileExists(atPath: tool.path("target")) {
        usleep(500)
      }
      usleep(20_000)
      run.interrupt(with: number)
      let end = try run.finish()
      #expect(end.status == status, "\(end)")
      #expect(end.errors == "lamina: interrupted\n")
      #expect(!FileManager.default.fileExists(atPath: tool.path("target")))
    }
  }
}
#endif
