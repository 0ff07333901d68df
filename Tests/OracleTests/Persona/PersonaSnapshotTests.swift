import QEMUTools
import Testing

/// `snapshot`, called as qemu-img, beside the real one.
@Suite(.enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"))
struct PersonaSnapshotTests {
  @Test(arguments: PersonaOracle.seeds)
  func answersAsQemuImg(seed: Int) throws { try PersonaOracle.compare(Calls.self, seed: seed) }

  private enum Calls: PersonaVerb {
    static let name = "snapshot"
    static let changesFiles = true

    static func grow(_ call: inout PersonaCall) {
      let images = call.zoo.animals.filter { !$0.snapshots.isEmpty }
      let image = images.isEmpty || call.chance(4) ? call.pick(call.zoo.animals) : call.pick(images)
      call.addImage(image, format: nil)
      let name = call.pick(image.snapshots + ["s1", "new", "1", "2", "7", "nosuch"])
      switch call.pick([0, 1, 2, 3, 1, 2, 3, 4]) {
      case 0: call.add("-l")
      case 1: call.add("-c", name)
      case 2: call.add("-a", name)
      case 3: call.add("-d", name)
      default: break
      }
      call.maybe(12, "-l")
      call.maybe(12, "-c", "another")
      call.maybe(8, "-q")
      call.maybe(12, "-U")
    }
  }
}
