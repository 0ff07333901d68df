import QEMUTools
import Testing

/// `rebase`, called as qemu-img, beside the real one.
@Suite(.enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"))
struct PersonaRebaseTests {
  @Test(arguments: PersonaOracle.seeds)
  func answersAsQemuImg(seed: Int) throws { try PersonaOracle.compare(Calls.self, seed: seed) }

  private enum Calls: PersonaVerb {
    static let name = "rebase"
    static let changesFiles = true

    static func grow(_ call: inout PersonaCall) {
      let overlays = call.zoo.animals.filter { ["middle.qcow2", "top.qcow2"].contains($0.name) }
      let sound = call.zoo.animals.filter { !$0.isDamaged && !$0.isLarge }
      // A version 2 image that stands on nothing is not kept safe by qemu-img.
      let raws = sound.filter { $0.format == "raw" && $0.name != "equal" }
      call.addImage(call.pick(call.chance(6) ? raws : overlays))
      let backing = call.pick(sound)
      let name = call.pick([
        backing.name, backing.name, backing.name, call.zoo.folder + backing.name, "", "nosuch",
        "nosuch:x",
      ])
      if !call.chance(12) { call.add("-b", name) }
      if !call.chance(6) {
        call.add("-F", call.chance(10) ? call.pick(["raw", "qcow2", "nosuch"]) : backing.format)
      }
      call.maybe(3, "-u")
      call.maybe(6, "-p")
      call.maybe(10, "-q")
      call.maybe(10, "-U")
      call.maybe(10, "-t", call.pick(["none", "writeback", "nosuch"]))
      call.maybe(10, "-T", call.pick(["none", "writeback", "nosuch"]))
    }
  }
}
