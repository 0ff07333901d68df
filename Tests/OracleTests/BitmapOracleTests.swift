import Foundation
import QEMUTools
import Testing

/// Persistent bitmaps, written by a running QEMU and by us.
@Suite(
  .serialized,
  .enabled(
    if: QEMUTools.areInstalled && QEMUTools.hasSystem,
    "qemu-img, qemu-io and qemu-system-x86_64 are not installed"))
struct BitmapOracleTests {
  /// Starts a machine without anything in it, gives it commands, and lets it quit.
  private func machine(_ disk: String, _ commands: [String]) throws -> String {
    let open = """
      {"execute":"qmp_capabilities"}
      {"execute":"blockdev-add","arguments":{"driver":"qcow2","node-name":"d","file":{"driver":\
      "file","filename":"\(disk)"}}}
      """.replacingOccurrences(of: "\\\n", with: "")
    let input = ([open] + commands + ["{\"execute\":\"quit\"}"]).joined(separator: "\n") + "\n"
    let answer = try QEMUTools.run(
      "qemu-system-x86_64",
      ["-machine", "none", "-nodefaults", "-display", "none", "-qmp", "stdio"], input: input)
    #expect(!answer.output.contains("\"error\""), "\(answer.output)\(answer.errors)")
    return answer.output
  }

  private func write(_ what: String) -> String {
    "{\"execute\":\"human-monitor-command\",\"arguments\":"
      + "{\"command-line\":\"qemu-io d \\\"\(what)\\\"\"}}"
  }

  @Test func aBitmapThatARunningMachineWroteIsReadByUs() throws {
    try Oracle.withFolder { folder in
      let disk = folder + "disk.qcow2"
      _ = try QEMUTools.run("qemu-img", ["create", "-q", "-f", "qcow2", disk, "64M"])
      _ = try machine(
        disk,
        [
          "{\"execute\":\"block-dirty-bitmap-add\",\"arguments\":{\"node\":\"d\","
            + "\"name\":\"b\",\"persistent\":true}}",
          write("write 0 512"), write("write 16M 256k"), write("write 32736k 64k"),
        ])
      let dump = Oracle.lamina(["bitmap", "dump", "--output", "human", disk, "b"])
      #expect(dump.output == "0\t65536\n16777216\t262144\n33488896\t131072\n")
    }
  }

  @Test func aBitmapOfOursIsKeptByARunningMachine() throws {
    try Oracle.withFolder { folder in
      let disk = folder + "disk.qcow2"
      #expect(Oracle.lamina(["create", "-q", "-f", "qcow2", disk, "64M"]).status == 0)
      #expect(Oracle.lamina(["bitmap", "add", disk, "ours"]).status == 0)
      #expect(Oracle.lamina(["io", "-c", "write 1M 64k", disk]).status == 0)
      let output = try machine(
        disk, [write("write 5M 64k"), "{\"execute\":\"query-named-block-nodes\"}"])
      #expect(output.contains("\"name\": \"ours\""))
      #expect(output.contains("\"count\": 131072"))
      let dump = Oracle.lamina(["bitmap", "dump", "--output", "human", disk, "ours"])
      #expect(dump.output == "1048576\t65536\n5242880\t65536\n")
      #expect(try QEMUTools.run("qemu-img", ["check", "-q", disk]).status == 0)
    }
  }
}
