import QEMUTools
import Testing

/// `bench`, called as qemu-img, beside the real one.
@Suite(.enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"))
struct PersonaBenchTests {
  @Test(arguments: PersonaOracle.seeds)
  func answersAsQemuImg(seed: Int) throws { try PersonaOracle.compare(Calls.self, seed: seed) }

  private enum Calls: PersonaVerb {
    static let name = "bench"
    static let changesFiles = true

    static func grow(_ call: inout PersonaCall) {
      call.addImage(call.pick(call.zoo.animals.filter { !$0.isDamaged && $0.name != "empty" }))
      call.add("-c", call.pick(["1", "5", "20", "5", "20", "0", "x", "-1", "1k", "0x10"]))
      call.maybe(2, "-d", call.pick(["1", "2", "4", "1", "2", "4", "x", "-1"]))
      call.maybe(3, "-s", call.pick(["512", "4k", "64k", "1000", "x", "3G", "0"]))
      call.maybe(4, "-S", call.pick(["0", "512", "64k", "x", "3G"]))
      call.maybe(4, "-o", call.pick(["0", "512", "64k", "x", "1G", "9E"]))
      if call.chance(3) {
        call.add("-w")
        if call.chance(2) { call.addLong("pattern", call.pick(["1", "0xff", "256", "x"])) }
      }
      if call.chance(6) { call.addLong("flush-interval", call.pick(["0", "4", "100", "1", "x"])) }
      call.maybe(8, "--no-drain")
      call.maybe(8, "-t", call.pick(["writeback", "unsafe", "writethrough", "nosuch"]))
      call.maybe(10, "-i", call.pick(["threads", "native", "nosuch"]))
      call.maybe(20, "-n")
      call.maybe(10, "-q")
      call.maybe(10, "-U")
    }
  }
}
