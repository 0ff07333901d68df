import QEMUTools
import Testing

/// `map`, called as qemu-img, beside the real one.
@Suite(.enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"))
struct PersonaMapTests {
  @Test(arguments: PersonaOracle.seeds)
  func answersAsQemuImg(seed: Int) throws { try PersonaOracle.compare(Calls.self, seed: seed) }

  private enum Calls: PersonaVerb {
    static let name = "map"
    static let changesFiles = false

    static func grow(_ call: inout PersonaCall) {
      // Data behind the end of a file is zeros to us, and data to QEMU, which reads zeros.
      call.addImage(call.pick(call.zoo.animals.filter { !$0.isTruncated }))
      call.maybe(8, "-U")
      if call.chance(3) { call.addLong("start-offset", size(&call)) }
      if call.chance(3) { call.addLong("max-length", size(&call)) }
      if call.chance(2) {
        call.addLong("output", call.pick(["json", "json", "json", "human", "x"]))
      }
    }

    private static func size(_ call: inout PersonaCall) -> String {
      call.pick(["0", "1", "512", "64k", "100000", "1M", "3G", "x", "-1", "1.5k", "", "0x1000"])
    }
  }
}
