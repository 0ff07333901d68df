import Foundation
import Testing

@testable import LaminaTool

/// `convert`, `commit`, `rebase` and `measure`: what they say, and what is there afterwards.
@Suite struct CopyingVerbTests {
  private func withChain(_ body: (ToolFixture) throws -> Void) throws {
    try ToolFixture.run { tool in
      tool.lamina("create", "-q", "-f", "raw", tool.path("base.raw"), "1M")
      tool.lamina("io", "-f", "raw", "-c", "write -P 1 0 256k", tool.path("base.raw"))
      tool.lamina(
        "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", tool.path("mid.qcow2"))
      tool.lamina("io", "-c", "write -P 2 64k 64k", tool.path("mid.qcow2"))
      tool.lamina(
        "create", "-q", "-f", "qcow2", "-b", "mid.qcow2", "-F", "qcow2", tool.path("top.qcow2"))
      tool.lamina("io", "-c", "write -P 3 128k 1000", tool.path("top.qcow2"))
      tool.lamina("convert", "-O", "raw", tool.path("top.qcow2"), tool.path("copy.raw"))
      try body(tool)
    }
  }

  private func expectSame(_ tool: ToolFixture, _ name: String) {
    let answer = tool.lamina("compare", tool.path("copy.raw"), tool.path(name))
    #expect(answer.output == "Images are identical.\n", "\(answer)")
  }

  @Test func aCopyIsMadeOfAnyFormat() throws {
    try withChain { tool in
      #expect(try tool.bytes("copy.raw").count == 1 << 20)
      let bytes = try tool.bytes("copy.raw")
      #expect(bytes[0] == 1 && bytes[65536] == 2 && bytes[131072] == 3 && bytes[300_000] == 0)
      let copied = tool.lamina(
        "convert", "-p", "-f", "qcow2", "-O", "qcow2", "-o", "cluster_size=4k", "-W", "-m", "3",
        tool.path("top.qcow2"), tool.path("copy.qcow2"))
      #expect(copied.status == 0 && copied.errors.isEmpty, "\(copied)")
      #expect(copied.output.hasSuffix("    (100.00/100%)\r\n"))
      expectSame(tool, "copy.qcow2")
      #expect(tool.lamina("check", "-q", tool.path("copy.qcow2")).status == 0)
    }
  }

  @Test func aCopyOnABackingFileHasTheDifferences() throws {
    try withChain { tool in
      for backing in ["mid.qcow2", "base.raw", "copy.raw"] {
        let format = backing.hasSuffix("raw") ? "raw" : "qcow2"
        let copied = tool.lamina(
          "convert", "-O", "qcow2", "-B", backing, "-F", format, tool.path("top.qcow2"),
          tool.path("delta.qcow2"))
        #expect(copied.status == 0, "\(copied)")
        expectSame(tool, "delta.qcow2")
        let clusters = ["mid.qcow2": 1, "base.raw": 2, "copy.raw": 0][backing] ?? -1
        let checked = tool.lamina("check", tool.path("delta.qcow2")).output
        #expect(checked.contains("\(clusters)/16 = ") || clusters == 0, "\(backing): \(checked)")
      }
    }
  }

  @Test func aSnapshotIsCopied() throws {
    try withChain { tool in
      let top = tool.path("top.qcow2")
      tool.lamina("snapshot", "-c", "before", top)
      tool.lamina("io", "-c", "write -P 8 0 1M", top)
      for snapshot in ["before", "1", "snapshot.name=before", "snapshot.id=1"] {
        let copied = tool.lamina("convert", "-l", snapshot, "-O", "raw", top, tool.path("old.raw"))
        #expect(copied.status == 0, "\(copied)")
        expectSame(tool, "old.raw")
      }
      let missing = tool.lamina("convert", "-l", "x", "-O", "raw", top, tool.path("none.raw"))
      #expect(missing.status == 1)
      #expect(!FileManager.default.fileExists(atPath: tool.path("none.raw")))
    }
  }

  @Test func anExistingTargetIsOverwrittenWhereItIs() throws {
    try withChain { tool in
      tool.lamina("create", "-q", "-f", "qcow2", tool.path("old.qcow2"), "1M")
      tool.lamina("io", "-c", "write -P 9 0 1M", tool.path("old.qcow2"))
      let copied = tool.lamina(
        "convert", "-n", "-O", "qcow2", tool.path("top.qcow2"), tool.path("old.qcow2"))
      #expect(copied.status == 0, "\(copied)")
      expectSame(tool, "old.qcow2")
    }
  }

  @Test func wrongCallsAreRefusedAndChangeNothing() throws {
    try withChain { tool in
      let top = tool.path("top.qcow2")
      let out = tool.path("out")
      for (text, words) in [
        ("Must specify image file name", [top]),
        ("Unknown file format 'vhdx'", ["-O", "vhdx", top, out]),
        ("Compression not supported for this file format", ["-c", "-O", "raw", top, out]),
        ("Allowed number of coroutines is between 1 and 16", ["-m", "17", top, out]),
        ("Valid sizes are multiples of 512 up to 16777216", ["-S", "1000", top, out]),
        ("--target-is-zero requires use of -n flag", ["--target-is-zero", top, out]),
        ("Invalid cache option: x", ["-t", "x", top, out]),
        (
          "Use of backing file requires explicit backing format",
          ["-O", "qcow2", "-B", top, top, out]
        ),
        (
          "Backing file not supported for file format 'raw'",
          ["-O", "raw", "-B", "base.raw", "-F", "raw", top, out]
        ),
        ("output file is smaller than input file", ["-n", "-O", "raw", top, tool.path("short")]),
        ("lock", ["-O", "raw", top, top]),
      ] {
        try Data(count: 512).write(to: URL(filePath: tool.path("short")))
        let answer = tool.lamina(["convert"] + words)
        #expect(answer.status == 1 && answer.errors.contains(text), "\(words): \(answer)")
        #expect(!FileManager.default.fileExists(atPath: out), "\(words)")
      }
      expectSame(tool, "top.qcow2")
    }
  }

  @Test func aCommitEmptiesTheOverlayUnlessItIsToldNotTo() throws {
    try withChain { tool in
      let top = tool.path("top.qcow2")
      #expect(tool.lamina("commit", "-d", top).output == "Image committed.\n")
      #expect(tool.lamina("map", top).output.contains("top.qcow2"))
      expectSame(tool, "mid.qcow2")
      #expect(tool.lamina("commit", "-q", top).output == "")
      #expect(!tool.lamina("map", top).output.contains("top.qcow2"))
      expectSame(tool, "top.qcow2")
      #expect(tool.lamina("commit", "-b", "base.raw", top).status == 0)
      expectSame(tool, "base.raw")
      expectSame(tool, "top.qcow2")
      let missing = tool.lamina("commit", "-b", "nope", top)
      #expect(missing.errors == "lamina: Did not find 'nope' in the backing chain of '\(top)'\n")
      let alone = tool.lamina("commit", "-f", "raw", tool.path("base.raw"))
      #expect(alone.errors.hasSuffix("Image does not have a backing file\n"), "\(alone)")
    }
  }

  @Test func aRebasedImageShowsTheSame() throws {
    try withChain { tool in
      let top = tool.path("top.qcow2")
      let rebased = tool.lamina("rebase", "-b", "base.raw", "-F", "raw", top)
      #expect(rebased.status == 0, "\(rebased)")
      #expect(tool.lamina("info", top).output.contains("backing file: base.raw"))
      expectSame(tool, "top.qcow2")
      #expect(tool.lamina("rebase", "-p", "-b", "", top).output.hasSuffix("(100.00/100%)\r\n"))
      #expect(!tool.lamina("info", top).output.contains("backing file"))
      expectSame(tool, "top.qcow2")
      let missing = tool.lamina("rebase", "-b", "nope", "-F", "raw", top)
      #expect(missing.errors.contains("Could not open new backing file 'nope'"), "\(missing)")
      let unsaid = tool.lamina("rebase", "-b", "mid.qcow2", top)
      #expect(unsaid.errors.contains("backing format must be specified"), "\(unsaid)")
      let nothing = tool.lamina("rebase", top)
      #expect(nothing.errors.contains("Must specify backing file (-b) or use unsafe mode (-u)"))
    }
  }

  @Test func aMeasureIsPrintedInBothForms() throws {
    try withChain { tool in
      #expect(
        tool.lamina("measure", "-O", "qcow2", tool.path("copy.raw")).output
          == "required size: 589824\nfully allocated size: 1376256\n")
      #expect(
        tool.lamina("measure", "-O", "qcow2", "--output=json", "--size", "1G").output
          == "{\n    \"required\": 393216,\n    \"fully-allocated\": 1074135040\n}\n")
      #expect(tool.lamina("measure").errors.contains("Either --size N or one filename must be"))
    }
  }
}
