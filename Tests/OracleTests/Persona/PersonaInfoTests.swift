import QEMUTools
import Testing

/// `info`, called as qemu-img, beside the real one.
@Suite(.enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"))
struct PersonaInfoTests {
  @Test(arguments: PersonaOracle.seeds)
  func answersAsQemuImg(seed: Int) throws { try PersonaOracle.compare(Calls.self, seed: seed) }

  private enum Calls: PersonaVerb {
    static let name = "info"
    static let changesFiles = false

    static func grow(_ call: inout PersonaCall) {
      call.addImage()
      call.maybe(3, "--backing-chain")
      call.maybe(5, "-U")
      if call.chance(2) {
        call.addLong("output", call.pick(["json", "json", "json", "human", "x"]))
      }
    }
  }
}
