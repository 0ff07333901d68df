import Foundation
import QEMUTools
import Testing

/// `lamina check -r` beside `qemu-img check -r` (7.2) on copies of the same damaged images: what
/// they print, and how they exit.
@Suite struct RepairToolTests {
  /// Bytes that are put into an image of 4 KiB clusters with data in the first 64 KiB.
  struct Case: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let offset: Int
    let bytes: [UInt8]
    var modes = ["leaks", "all"]
    /// How the tool exits after `-r all`.
    var status: Int32 = 0
  }

  static let cases = [
    Case(testDescription: "sound", offset: 0, bytes: [0x51]),
    Case(testDescription: "leaks", offset: 0x2000 + 21 * 2, bytes: [0, 2, 0, 1]),
    Case(testDescription: "shared", offset: 0x4006, bytes: [0x60]),
    Case(testDescription: "copied flag", offset: 0x4000, bytes: [0]),
    Case(testDescription: "copied flag of a table", offset: 0x3000, bytes: [0]),
    Case(testDescription: "reserved, no cluster", offset: 0x4006, bytes: [0x52, 1]),
    Case(testDescription: "no cluster", offset: 0x4006, bytes: [0x52], status: 2),
    Case(testDescription: "reserved bits", offset: 0x4007, bytes: [0x10], status: 2),
    Case(testDescription: "marked", offset: 79, bytes: [3]),
  ]

  private func prepare(_ tool: ToolFixture, _ one: Case) throws {
    let path = tool.path("base.qcow2")
    try QEMUTools.run(
      "qemu-img", ["create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", path, "1M"])
    try QEMUTools.run("qemu-io", ["-f", "qcow2", "-c", "write -P 1 0 64k", path])
    // The leaks have clusters of their own.
    var data = try tool.bytes("base.qcow2")
    data.append(Data(count: 2 * 4096))
    try data.write(to: URL(filePath: path))
    try tool.patch("base.qcow2", at: one.offset, one.bytes)
  }

  @Test(
    .enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"), arguments: cases,
    ["human", "json"])
  func repairsAreToldAsQEMUTellsThem(_ one: Case, format: String) throws {
    try ToolFixture.run { tool in
      try prepare(tool, one)
      for mode in one.modes {
        let path = tool.path("image.qcow2")
        func fresh() throws { try tool.bytes("base.qcow2").write(to: URL(filePath: path)) }
        let words = ["check", "-f", "qcow2", "--output", format, "-r", mode, path]
        try fresh()
        let theirs = try QEMUTools.run("qemu-img", words)
        try fresh()
        let ours = tool.lamina(words)
        #expect(ours.output == theirs.output, "-r \(mode)")
        #expect(ours.status == theirs.status, "-r \(mode): \(ours.errors)")
        if mode == "all" { #expect(ours.status == one.status) }
      }
    }
  }

  @Test func aRepairThatIsNoneIsRefused() throws {
    try ToolFixture.run { tool in
      let answer = tool.lamina("check", "-r", "some", tool.path("a.qcow2"))
      #expect(answer.status == 1)
      #expect(
        answer.errors.contains("Unknown option value for -r (expecting 'leaks' or 'all'): some"))
    }
  }
}
