import Foundation
import Testing

@testable import LaminaTool

/// What `create`, `convert`, `commit` and `rebase` do to files that are there already.
@Suite struct TargetFileTests {
  /// A raw file whose first 128 KiB are data, a qcow2 file with a hole there, and one without.
  private func withFiles(_ body: (ToolFixture) throws -> Void) throws {
    try ToolFixture.run { tool in
      tool.lamina("create", "-q", "-f", "raw", tool.path("base.raw"), "1M")
      tool.lamina("io", "-f", "raw", "-c", "write -P 1 0 128k", tool.path("base.raw"))
      tool.lamina(
        "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", tool.path("over.qcow2"))
      tool.lamina("create", "-q", "-f", "qcow2", tool.path("alone.qcow2"), "1M")
      tool.lamina("io", "-c", "write -P 2 64k 64k", tool.path("alone.qcow2"))
      try body(tool)
    }
  }

  private func expectSame(_ tool: ToolFixture, _ one: String, _ other: String) {
    let answer = tool.lamina("compare", tool.path(one), tool.path(other))
    #expect(answer.output == "Images are identical.\n", "\(answer)")
  }

  @Test func nothingOfAGivenTargetsBackingFileShowsThrough() throws {
    try withFiles { tool in
      // Both disks have zeros there, below the target.
      tool.lamina("io", "-c", "write -P 9 512k 64k", tool.path("over.qcow2"))
      let words = ["convert", "-n", "-O", "qcow2", tool.path("alone.qcow2")]
      #expect(tool.lamina(words + [tool.path("over.qcow2")]).status == 0)
      expectSame(tool, "alone.qcow2", "over.qcow2")
    }
  }

  @Test func onlyAnEmptyTargetIsFilledByWhatItsBackingFileLacks() throws {
    try withFiles { tool in
      let words = [
        "convert", "-n", "-O", "qcow2", "-B", "base.raw", "-F", "raw", tool.path("alone.qcow2"),
        tool.path("over.qcow2"),
      ]
      #expect(tool.lamina(words).status == 0)
      expectSame(tool, "alone.qcow2", "over.qcow2")
      let before = try tool.bytes("over.qcow2")
      let answer = tool.lamina(words)
      #expect(answer.status == 1 && answer.errors.contains("data of its own"), "\(answer)")
      #expect(try tool.bytes("over.qcow2") == before)
    }
  }

  @Test func aFileInAnotherFormatHasOtherContents() throws {
    try withFiles { tool in
      let top = tool.path("top.qcow2")
      tool.lamina("create", "-q", "-f", "qcow2", "-b", "alone.qcow2", "-F", "qcow2", top)
      let copied = tool.lamina(
        "convert", "-O", "qcow2", "-B", "alone.qcow2", "-F", "raw", top, tool.path("copy.qcow2"))
      #expect(copied.status == 0, "\(copied)")
      expectSame(tool, "top.qcow2", "copy.qcow2")
    }
  }

  @Test func noFileThatTheNewImageNeedsIsEmptied() throws {
    try withFiles { tool in
      let base = tool.path("base.raw")
      let over = tool.path("over.qcow2")
      for name in ["base.raw", "./base.raw", base] {
        for mode in [[], ["-u"]] {
          try refuse(
            tool, "same filename as the backing file",
            ["create", "-q", "-f", "qcow2", "-b", name, "-F", "raw"] + mode + [base, "1M"])
        }
        try refuse(
          tool, "lock",
          [
            "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "-o",
            "data_file=\(name)", tool.path("new"),
          ])
      }
      try refuse(
        tool, "lock", ["create", "-q", "-f", "qcow2", "-b", "over.qcow2", "-F", "qcow2", base])
      try refuse(
        tool, "same filename as the data file",
        ["create", "-q", "-f", "qcow2", "-o", "data_file=new", tool.path("new"), "1M"])
      try refuse(
        tool, "lock",
        ["convert", "-O", "qcow2", "-o", "data_file=base.raw", over, tool.path("new")])
      try refuse(
        tool, "same filename as the backing file",
        ["convert", "-O", "qcow2", "-B", "base.raw", "-F", "raw", tool.path("alone.qcow2"), base])
    }
  }

  private func refuse(_ tool: ToolFixture, _ text: String, _ words: [String]) throws {
    let names = ["base.raw", "over.qcow2", "alone.qcow2"]
    let before = try names.map { try tool.bytes($0) }
    let answer = tool.lamina(words)
    #expect(answer.status == 1 && answer.errors.contains(text), "\(words): \(answer)")
    #expect(try names.map { try tool.bytes($0) } == before, "\(words)")
    #expect(!FileManager.default.fileExists(atPath: tool.path("new")), "\(words)")
  }

  @Test func aFileThatCouldNotBecomeAnImageIsGoneIfItIsNew() throws {
    try withFiles { tool in
      for place in ["new", "alone.qcow2"] {
        let before = try? tool.bytes(place)
        let answer = tool.lamina(
          "create", "-q", "-f", "qcow2", "-o", "data_file=missing/data", tool.path(place), "1M")
        #expect(answer.status == 1 && answer.errors.contains("missing/data"), "\(answer)")
        #expect((try? tool.bytes(place)) == before, "it is not emptied before both are there")
      }
    }
  }

  @Test func aCopyThatFailsClosesItsTarget() throws {
    try withFiles { tool in
      let first = tool.path("first.raw")
      tool.lamina("create", "-q", "-f", "raw", first, "4M")
      tool.lamina("io", "-f", "raw", "-c", "write -P 3 0 4M", first)
      // The second source's entries name no cluster's place.
      let second = tool.path("alone.qcow2")
      let bytes = try tool.bytes("alone.qcow2")
      func word(_ offset: Int) -> Int { bytes[offset..<offset + 8].reduce(0) { $0 << 8 | Int($1) } }
      let table = word(word(40)) & 0xffff_ffff
      try tool.patch("alone.qcow2", at: table + 8 + 6, [0x52])
      let target = tool.path("target.qcow2")
      tool.lamina("create", "-q", "-f", "qcow2", target, "5M")
      #expect(tool.lamina("bitmap", "add", target, "b").status == 0)
      let answer = tool.lamina(
        "convert", "-n", "-m", "1", "-O", "qcow2", first, second, target)
      #expect(answer.status == 1 && answer.errors.contains("reading"), "\(answer)")
      let info = tool.lamina("info", target).output
      #expect(info.contains("name: b") && !info.contains("in-use"), "\(info)")
      #expect(tool.lamina("check", "-q", target).status == 0)
      #expect(tool.lamina("map", target).output.contains("target.qcow2"))
    }
  }

  @Test func anOverlayThatIsCommittedToANamedBaseKeepsWhatItHas() throws {
    try withFiles { tool in
      let over = tool.path("over.qcow2")
      tool.lamina("io", "-c", "write -P 5 0 64k", over)
      #expect(tool.lamina("commit", "-b", "base.raw", over).status == 0)
      #expect(tool.lamina("map", over).output.contains("over.qcow2"))
      expectSame(tool, "over.qcow2", "base.raw")
    }
  }

  @Test func changesBelowSnapshotsAreWarnedOf() throws {
    try withFiles { tool in
      let over = tool.path("over.qcow2")
      let text = "has internal snapshots (1), which show what is below the image"
      #expect(tool.lamina("commit", over).errors == "")
      tool.lamina("snapshot", "-c", "s", over)
      for words in [["commit", over], ["rebase", "-b", "", over]] {
        let answer = tool.lamina(words)
        #expect(answer.status == 0 && answer.errors.contains(text), "\(answer)")
      }
    }
  }
}
