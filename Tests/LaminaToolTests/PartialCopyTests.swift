import Foundation
import Testing

@testable import LaminaTool

/// `dd`, `bench` and `convert --bitmaps` without qemu's tools beside them.
@Suite struct PartialCopyTests {
  private func source(_ tool: ToolFixture, count: Int = 10_000) throws -> Data {
    let bytes = Data((0..<count).map { UInt8(truncatingIfNeeded: $0 / 3 + 1) })
    try bytes.write(to: URL(filePath: tool.path("source")))
    return bytes
  }

  @Test func ddCopiesBlocksCountedFromTheBeginning() throws {
    try ToolFixture.run { tool in
      let bytes = try source(tool)
      let answer = tool.lamina(
        "dd", "-f", "raw", "if=" + tool.path("source"), "of=" + tool.path("copy"), "bs=1000",
        "count=7", "skip=2")
      #expect(answer.status == 0 && answer.errors.isEmpty)
      let copy = try tool.bytes("copy")
      #expect(copy.count == 5120)
      #expect(copy.prefix(5000) == bytes[2000..<7000])
      #expect(copy.dropFirst(5000).allSatisfy { $0 == 0 })
    }
  }

  @Test func ddOntoItsSourceTouchesNothing() throws {
    try ToolFixture.run { tool in
      _ = try source(tool)
      try tool.expectRefusal(
        "Failed to get \"write\" lock", lines: 2, "dd", "-f", "raw", "if=" + tool.path("source"),
        "of=" + tool.path("source"))
    }
  }

  @Test(arguments: [["-d", "1"], ["-d", "4"], ["-d", "4", "--flush-interval", "5"]])
  func benchWritesEveryRequestWhateverIsUnderWay(options: [String]) throws {
    try ToolFixture.run { tool in
      try Data(count: 65536).write(to: URL(filePath: tool.path("disk")))
      let answer = tool.lamina(
        ["bench", "-f", "raw", "-w", "-c", "10", "-s", "4k", "-o", "40k", "--pattern", "7"]
          + options + [tool.path("disk")])
      #expect(answer.status == 0, "\(answer)")
      // Six requests up to the end, and four from the beginning.
      let disk = try tool.bytes("disk")
      let expected = (0..<65536).map { $0 < 16384 || $0 >= 40960 ? UInt8(7) : 0 }
      #expect(disk == Data(expected))
    }
  }

  @Test func bitmapsAreCopiedWithTheirBitsAndTheirOrder() throws {
    try ToolFixture.run { tool in
      let (disk, copy) = (tool.path("disk"), tool.path("copy"))
      #expect(tool.lamina("create", "-q", "-f", "qcow2", disk, "1M").status == 0)
      for (name, more) in [("first", []), ("second", ["--disable", "-g", "4k"])] {
        #expect(tool.lamina(["bitmap", "--add"] + more + [disk, name]).status == 0)
      }
      #expect(tool.lamina("io", "-c", "write 256k 64k", disk).status == 0)
      #expect(tool.lamina("convert", "-O", "qcow2", "--bitmaps", disk, copy).status == 0)
      for words in [["list"], ["dump", "first"], ["dump", "second"]] {
        let command = ["bitmap", words[0], "--output", "json"]
        let answers = [disk, copy].map { tool.lamina(command + [$0] + words.dropFirst()) }
        #expect(answers[0].status == 0)
        #expect(answers[0].output == answers[1].output)
      }
    }
  }

  @Test func bitmapsThatCannotBeCopiedLeaveNoTarget() throws {
    try ToolFixture.run { tool in
      let disk = tool.path("disk")
      #expect(tool.lamina("create", "-q", "-f", "qcow2", disk, "1M").status == 0)
      #expect(tool.lamina("bitmap", "--add", disk, "first").status == 0)
      try tool.expectRefusal(
        "Format driver 'raw' does not support bitmaps", "convert", "-O", "raw", "--bitmaps", disk,
        tool.path("copy"))
    }
  }
}
