import QEMUTools
import Testing

/// `check`, called as qemu-img, beside the real one.
@Suite(.enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"))
struct PersonaCheckTests {
  @Test(arguments: PersonaOracle.seeds)
  func answersAsQemuImg(seed: Int) throws { try PersonaOracle.compare(Calls.self, seed: seed) }

  private enum Calls: PersonaVerb {
    static let name = "check"
    static let changesFiles = true

    static func grow(_ call: inout PersonaCall) {
      let image = call.pick(call.zoo.animals)
      call.addImage(image)
      call.maybe(8, "-U")
      call.maybe(6, "-q")
      call.maybe(8, "-T", call.pick(["none", "writeback", "nosuch"]))
      // QEMU's repair of an image with bitmaps loses its snapshots.
      let isRepairable = image.bitmaps.isEmpty || image.snapshots.isEmpty
      if isRepairable, call.chance(3) {
        call.add("-r", call.pick(["leaks", "all", "leaks", "all", "x"]))
      }
      if call.chance(3) {
        call.addLong("output", call.pick(["json", "json", "json", "human", "x"]))
      }
    }
  }
}
