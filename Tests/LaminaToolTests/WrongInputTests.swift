import Foundation
import QEMUTools
import Testing

/// Wrong input: one line that says what is wrong, an exit status, and nothing changed on disk.
@Suite struct WrongInputTests {
  private func withImage(_ body: (ToolFixture) throws -> Void) throws {
    try ToolFixture.run { tool in
      #expect(tool.lamina("create", "-q", "-f", "qcow2", tool.path("a.qcow2"), "1M").status == 0)
      #expect(tool.lamina("io", "-c", "write -P 1 0 64k", tool.path("a.qcow2")).status == 0)
      try body(tool)
    }
  }

  private let write = "write 0 512"

  @Test func aFileThatIsNoQcow2ImageIsRefused() throws {
    try ToolFixture.run { tool in
      try Data(repeating: 7, count: 4096).write(to: URL(filePath: tool.path("a.qcow2")))
      try tool.expectRefusal(
        "Image is not in qcow2 format", "io", "-f", "qcow2", "-c", write, tool.path("a.qcow2"))
    }
  }

  @Test func aTruncatedImageIsRefused() throws {
    try withImage { tool in
      let file = try FileHandle(forUpdating: URL(filePath: tool.path("a.qcow2")))
      try file.truncate(atOffset: 100_000)
      try tool.expectRefusal("truncated", "io", "-f", "qcow2", "-c", write, tool.path("a.qcow2"))
    }
  }

  @Test func anUnknownFeatureBitIsNamed() throws {
    try withImage { tool in
      try tool.patch("a.qcow2", at: 72, [0x40])
      try tool.expectRefusal(
        "Unsupported qcow2 feature", "io", "-f", "qcow2", "-c", write, tool.path("a.qcow2"))
    }
  }

  @Test(arguments: [
    (79, UInt8(0x04), "'data-file' is required for this image"), (79, 0x02, "corrupt"),
    (35, 0x01, "AES encryption"),
  ])
  func whatKeepsUsFromWritingIsNamed(offset: Int, bits: UInt8, name: String) throws {
    try withImage { tool in
      try tool.patch("a.qcow2", at: offset, [bits])
      try tool.expectRefusal(name, "io", "-f", "qcow2", "-c", write, tool.path("a.qcow2"))
    }
  }

  @Test func aMissingBackingFileIsNamed() throws {
    try ToolFixture.run { tool in
      let top = tool.path("top.qcow2")
      #expect(
        tool.lamina(
          "create", "-q", "-f", "qcow2", "-u", "-b", "gone.qcow2", "-F", "qcow2", top, "1M"
        ).status == 0)
      try tool.expectRefusal("gone.qcow2", "io", "-f", "qcow2", "-c", write, top)
      try tool.expectRefusal("gone.qcow2", "map", top)
    }
  }

  @Test func aBackingLoopIsRefusedAtOnce() throws {
    try withImage { tool in
      let image = tool.path("a.qcow2")
      #expect(tool.lamina("rebase", "-u", "-b", "a.qcow2", "-F", "qcow2", image).status == 0)
      try tool.expectRefusal("infinite loop", "io", "-f", "qcow2", "-c", "read 0 512", image)
      try tool.expectRefusal("infinite loop", "info", "--backing-chain", image)
    }
  }

  @Test func aNameThatTheGateRefusesIsNotOpened() throws {
    try withImage { tool in
      let image = tool.path("a.qcow2")
      #expect(tool.lamina("rebase", "-u", "-b", "/etc/hostname", "-F", "raw", image).status == 0)
      try tool.expectRefusal("/etc/hostname", "map", "--policy", "confined", image)
      #expect(tool.lamina("rebase", "-u", "-b", "json:{}", "-F", "raw", image).status == 0)
      try tool.expectRefusal("json:{}", "map", image)
    }
  }

  @Test func aFolderThatCannotBeWrittenIsNamed() throws {
    try ToolFixture.run { tool in
      try tool.expectRefusal(
        "No such file or directory", "create", "-q", "-f", "qcow2", tool.path("no/such/a.qcow2"),
        "1M")
      try tool.expectRefusal(
        "Could not create", "create", "-q", "-f", "qcow2", "/proc/a.qcow2", "1M")
    }
  }

  @Test(.enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"))
  func anImageThatIsOpenForWritingIsRefused() throws {
    try withImage { tool in
      let image = tool.path("a.qcow2")
      let holder = try QEMUTools.start("qemu-io", ["-f", "qcow2", image])
      try holder.send("length\n")
      // Its answer shows that the image is open.
      #expect(try holder.read(until: "1 MiB").contains("1 MiB"))
      try tool.expectRefusal("lock", "io", "-f", "qcow2", "-c", write, image)
      #expect(tool.lamina("info", "-U", image).status == 0)
      try holder.finish()
    }
  }
}
