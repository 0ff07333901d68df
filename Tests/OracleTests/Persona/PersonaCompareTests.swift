import QEMUTools
import Testing

/// `compare`, called as qemu-img, beside the real one.
@Suite(.enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"))
struct PersonaCompareTests {
  @Test(arguments: PersonaOracle.seeds)
  func answersAsQemuImg(seed: Int) throws { try PersonaOracle.compare(Calls.self, seed: seed) }

  private enum Calls: PersonaVerb {
    static let name = "compare"
    static let changesFiles = false

    static func grow(_ call: inout PersonaCall) {
      let first = call.pick(call.zoo.animals)
      call.addImage(first, optionLists: false)
      let equal = call.zoo.animals.first { $0.name == "equal" }
      call.addImage(
        call.chance(3) ? equal : call.chance(6) ? first : nil, format: "-F", optionLists: false)
      call.maybe(3, "-s")
      call.maybe(8, "-p")
      call.maybe(8, "-q")
      call.maybe(6, "-U")
      call.maybe(10, "-T", call.pick(["none", "writeback", "nosuch"]))
    }
  }
}
