import QEMUTools
import Testing

/// `create`, called as qemu-img, beside the real one.
@Suite(.enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"))
struct PersonaCreateTests {
  @Test(arguments: PersonaOracle.seeds)
  func answersAsQemuImg(seed: Int) throws { try PersonaOracle.compare(Calls.self, seed: seed) }

  private enum Calls: PersonaVerb {
    static let name = "create"
    static let changesFiles = true

    static func grow(_ call: inout PersonaCall) {
      let format = call.pick(["qcow2", "qcow2", "qcow2", "qcow2", "raw", "raw", "nosuch", "file"])
      if !call.chance(12) { call.add("-f", format) }
      let name = call.pick(["out", "out", "out", "out", "file:out", "no/out", "", "nosuch:out"])
      let isPlain = name.hasPrefix("out") || name.hasPrefix("no/")
      let path =
        isPlain ? call.zoo.folder + name : name.replacing("out", with: call.zoo.folder + "out")
      call.add(operand: path)
      for _ in 0..<call.pick([0, 0, 1, 1, 2, 3]) { call.add("-o", call.newImageOption()) }
      if call.chance(3) { addBacking(&call) }
      call.maybe(8, "-u")
      call.maybe(8, "-q")
      if !call.chance(4) { call.add(operand: call.imageSize()) }
    }

    private static func addBacking(_ call: inout PersonaCall) {
      let backing = call.pick(call.zoo.animals)
      let path = call.zoo.folder + backing.name
      let name = call.pick([path, path, backing.name, backing.name, "nosuch", "", "nosuch:x"])
      let format = call.chance(8) ? call.pick(["raw", "qcow2", "nosuch"]) : backing.format
      if call.chance(8) {
        call.add("-o", "backing_file=\(name),backing_fmt=\(format)")
      } else {
        call.add("-b", name)
        if !call.chance(6) { call.add("-F", format) }
      }
    }
  }
}
