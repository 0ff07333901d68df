import QEMUTools
import Testing

/// `convert`, called as qemu-img, beside the real one.
@Suite(.enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"))
struct PersonaConvertTests {
  @Test(arguments: PersonaOracle.seeds)
  func answersAsQemuImg(seed: Int) throws { try PersonaOracle.compare(Calls.self, seed: seed) }

  private enum Calls: PersonaVerb {
    static let name = "convert"
    static let changesFiles = true

    static func grow(_ call: inout PersonaCall) {
      let sound = call.zoo.animals.filter { !$0.isDamaged }
      let small = sound.filter { !$0.isLarge }
      let isToRaw = call.chance(4)
      let source = call.pick(isToRaw ? small : call.chance(12) ? call.zoo.animals : sound)
      call.addImage(source, optionLists: false)
      if call.chance(6) { call.addImage(call.pick(isToRaw ? small : sound), format: nil) }
      addTarget(&call, isToRaw)
      if call.chance(6), !source.isLarge {
        call.add("-S", call.pick(["0", "512", "4k", "64k", "3k", "1000", "x", "64M"]))
      }
      if call.chance(5) {
        let names = source.snapshots + ["1", "snapshot.name=s1", "nosuch", "snapshot.x=1"]
        call.add("-l", call.pick(names))
      }
      if call.chance(4) {
        call.add("--bitmaps")
        call.maybe(3, "--skip-broken-bitmaps")
      }
      call.maybe(30, "--skip-broken-bitmaps")
      call.maybe(4, "-c")
      call.maybe(8, "-p")
      call.maybe(10, "-q")
      call.maybe(8, "-W")
      call.maybe(10, "-U")
      call.maybe(12, "-C")
      call.maybe(10, "--salvage")
      call.maybe(8, "-m", call.pick(["1", "4", "16", "0", "17", "x"]))
      call.maybe(12, "-t", call.pick(["none", "writeback", "unsafe"]))
      call.maybe(12, "-T", call.pick(["none", "writeback", "nosuch"]))
      call.maybe(12, "-r", call.pick(["1G", "x", "-1", "9E"]))
    }

    private static func addTarget(_ call: inout PersonaCall, _ isToRaw: Bool) {
      let folder = call.zoo.folder
      let format = isToRaw ? "raw" : call.chance(20) ? "nosuch" : "qcow2"
      if !isToRaw || call.chance(2) { call.add("-O", format) }
      if call.chance(8), let given = call.zoo.animals.first(where: { $0.name == "other.qcow2" }) {
        call.add("-n")
        call.add(operand: folder + given.name)
        call.maybe(6, "-o", "cluster_size=4k")
        return
      }
      call.add(operand: folder + call.pick(["out", "out", "out", "out", "out", "no/out"]))
      for _ in 0..<call.pick([0, 0, 0, 1, 1, 2]) {
        call.add("-o", call.newImageOption(small: true))
      }
      if call.chance(5) {
        let backing = call.pick(["plain.qcow2", "middle.qcow2", "raw.img"])
        call.add("-B", backing)
        if !call.chance(5) { call.add("-F", backing == "raw.img" ? "raw" : "qcow2") }
      }
      call.maybe(30, "--target-is-zero")
      call.maybe(40, "-n")
    }
  }
}
