import QEMUTools
import Testing

/// `resize`, called as qemu-img, beside the real one.
@Suite(.enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"))
struct PersonaResizeTests {
  @Test(arguments: PersonaOracle.seeds)
  func answersAsQemuImg(seed: Int) throws { try PersonaOracle.compare(Calls.self, seed: seed) }

  private enum Calls: PersonaVerb {
    static let name = "resize"
    static let changesFiles = true

    static func grow(_ call: inout PersonaCall) {
      call.addImage(call.pick(call.zoo.animals.filter { !$0.isDamaged && !$0.isLarge }))
      if call.chance(2) { call.add("--shrink") }
      call.maybe(8, "-q")
      if call.chance(5) {
        call.addLong("preallocation", call.pick(["off", "metadata", "falloc", "full", "nosuch"]))
      }
      call.end(
        with: call.pick([
          "512", "1000", "64k", "1M", "3M", "4000000", "+64k", "-512", "-64k", "+1M", "+0", "-1M",
          "0", "x", "+x", "8E", "", "+", "1.5M", "0x100000", "++64k", "+512", "-1k", "2M", "7E",
          "9223372036854775807", "99999999999999999999",
        ]))
    }
  }
}
