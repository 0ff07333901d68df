import QEMUTools
import Testing

/// `dd`, called as qemu-img, beside the real one.
@Suite(.enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"))
struct PersonaDdTests {
  @Test(arguments: PersonaOracle.seeds)
  func answersAsQemuImg(seed: Int) throws { try PersonaOracle.compare(Calls.self, seed: seed) }

  private enum Calls: PersonaVerb {
    static let name = "dd"
    static let changesFiles = true

    static func grow(_ call: inout PersonaCall) {
      let source = call.pick(call.zoo.animals.filter { !$0.isDamaged })
      let path = call.zoo.folder + source.name
      if !call.chance(20) {
        call.add(operand: "if=" + call.pick([path, path, path, path, "file:" + path, path + "x"]))
      }
      if !call.chance(20) {
        call.add(operand: "of=" + call.zoo.folder + call.pick(["out", "no/out"]))
      }
      let unit = call.pick(["512", "512", "1000", "4k", "64k", "0", "x", "3G", "1.5k", "-1"])
      if !call.chance(3) { call.add(operand: "bs=" + unit) }
      if source.isLarge || call.chance(2) {
        call.add(
          operand: "count=" + call.pick(["0", "1", "3", "17", "100", "3", "x", "-1", "0x10"]))
      }
      if call.chance(3) {
        call.add(operand: "skip=" + call.pick(["0", "1", "2", "9", "50", "999999", "x"]))
      }
      if call.chance(12) { call.add(operand: call.pick(["nosuch=1", "nosuch", "=1", "if"])) }
      if !call.chance(3) {
        call.add("-O", call.pick(["raw", "qcow2", "qcow2", "nosuch", "blkdebug"]))
      }
      if call.chance(3) { call.add("-f", call.chance(8) ? "nosuch" : source.format) }
      call.maybe(8, "-U")
    }
  }
}
