import QEMUTools
import Testing

/// `measure`, called as qemu-img, beside the real one.
@Suite(.enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"))
struct PersonaMeasureTests {
  @Test(arguments: PersonaOracle.seeds)
  func answersAsQemuImg(seed: Int) throws { try PersonaOracle.compare(Calls.self, seed: seed) }

  private enum Calls: PersonaVerb {
    static let name = "measure"
    static let changesFiles = false

    static func grow(_ call: inout PersonaCall) {
      if call.chance(3) {
        call.addLong("size", call.pick(["0", "1", "512", "1M", "1.5G", "100T", "3P", "x", "-1"]))
        if call.chance(8) { call.addImage() }
      } else {
        call.addImage()
      }
      if call.chance(8) { call.add("-l", call.pick(["s1", "7", "snapshot.name=s1", "nosuch"])) }
      if !call.chance(4) {
        call.add("-O", call.pick(["qcow2", "qcow2", "qcow2", "raw", "nosuch"]))
      }
      for _ in 0..<call.pick([0, 0, 1, 1, 2]) { call.add("-o", option(&call)) }
      if call.chance(3) {
        call.addLong("output", call.pick(["json", "json", "json", "human", "x"]))
      }
    }

    private static func option(_ call: inout PersonaCall) -> String {
      call.pick([
        "cluster_size=512", "cluster_size=2M", "cluster_size=4k,extended_l2=on", "refcount_bits=1",
        "refcount_bits=64", "refcount_bits=3", "compat=0.10", "compat=x", "extended_l2=on",
        "lazy_refcounts=on", "preallocation=metadata", "preallocation=falloc",
        "preallocation=full", "preallocation=x", "compression_type=zstd", "compression_type=x",
        "data_file=foo", "backing_file=foo,backing_fmt=raw", "size=3M", "size=x", "nosuch=1",
        "cluster_size=x", "extended_l2=x", "cluster_size=3", "cluster_size=4M", "refcount_bits=x",
      ])
    }
  }
}
