import QEMUTools
import Testing

/// `bitmap`, called as qemu-img, beside the real one.
@Suite(.enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"))
struct PersonaBitmapTests {
  @Test(arguments: PersonaOracle.seeds)
  func answersAsQemuImg(seed: Int) throws { try PersonaOracle.compare(Calls.self, seed: seed) }

  private enum Calls: PersonaVerb {
    static let name = "bitmap"
    static let changesFiles = true

    static func grow(_ call: inout PersonaCall) {
      let images = call.zoo.animals.filter { !$0.bitmaps.isEmpty }
      let image = images.isEmpty || call.chance(4) ? call.pick(call.zoo.animals) : call.pick(images)
      call.addImage(image)
      let names = image.bitmaps + ["new", "new", "b0"]
      if !call.chance(20) { call.add(operand: call.pick(names)) }
      for _ in 0..<call.pick([0, 1, 1, 1, 2, 3]) {
        switch call.pick([0, 1, 2, 3, 4, 5, 0]) {
        case 0: call.add("--add")
        case 1: call.add("--remove")
        case 2: call.add("--clear")
        case 3: call.add("--enable")
        case 4: call.add("--disable")
        default: call.addLong("merge", call.pick(names))
        }
      }
      if call.chance(4) { call.add("-g", call.pick(["512", "4k", "2M", "3", "x", "0", "4G"])) }
      if call.chance(6) {
        let source = call.pick(call.zoo.animals)
        call.add("-b", call.zoo.folder + source.name)
        call.maybe(2, "-F", source.format)
      }
      call.maybe(20, "-F", "qcow2")
    }
  }
}
