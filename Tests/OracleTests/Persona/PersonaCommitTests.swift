import QEMUTools
import Testing

/// `commit`, called as qemu-img, beside the real one.
@Suite(.enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"))
struct PersonaCommitTests {
  @Test(arguments: PersonaOracle.seeds)
  func answersAsQemuImg(seed: Int) throws { try PersonaOracle.compare(Calls.self, seed: seed) }

  private enum Calls: PersonaVerb {
    static let name = "commit"
    static let changesFiles = true

    static func grow(_ call: inout PersonaCall) {
      let overlays = call.zoo.animals.filter { ["middle.qcow2", "top.qcow2"].contains($0.name) }
      let sound = call.zoo.animals.filter { !$0.isDamaged && !$0.isLarge }
      call.addImage(call.pick(call.chance(6) ? sound : overlays))
      if call.chance(3) {
        let name = call.pick(sound).name
        call.add(
          "-b",
          call.pick(["middle.qcow2", "plain.qcow2", "raw.img", name, call.zoo.folder + name, ""]))
      }
      call.maybe(4, "-d")
      call.maybe(6, "-p")
      call.maybe(10, "-q")
      call.maybe(10, "-t", call.pick(["none", "writeback", "nosuch"]))
      call.maybe(10, "-r", call.pick(["1G", "x", "-1", "9E"]))
    }
  }
}
