import QEMUTools
import Testing

/// `amend`, called as qemu-img, beside the real one.
@Suite(.enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"))
struct PersonaAmendTests {
  @Test(arguments: PersonaOracle.seeds)
  func answersAsQemuImg(seed: Int) throws { try PersonaOracle.compare(Calls.self, seed: seed) }

  private enum Calls: PersonaVerb {
    static let name = "amend"
    static let changesFiles = true

    static func grow(_ call: inout PersonaCall) {
      call.addImage(call.pick(call.zoo.animals.filter { !$0.isDamaged && !$0.isLarge }))
      for _ in 0..<call.pick([1, 1, 1, 1, 2, 3, 0]) { call.add("-o", option(&call)) }
      call.maybe(8, "-p")
      call.maybe(8, "-q")
      call.maybe(10, "-t", call.pick(["none", "writeback", "nosuch"]))
      call.maybe(10, "--force")
    }

    private static func option(_ call: inout PersonaCall) -> String {
      call.pick([
        "compat=0.10", "compat=1.1", "compat=v2", "compat=v3", "compat=x", "compat",
        "refcount_bits=1", "refcount_bits=8", "refcount_bits=16", "refcount_bits=64",
        "refcount_bits=3", "refcount_bits=x", "refcount_bits=-1", "lazy_refcounts=on",
        "lazy_refcounts=off", "lazy_refcounts=x", "size=64M", "size=x", "size=1000", "size=9E",
        "cluster_size=4k", "extended_l2=on", "preallocation=full", "compression_type=zstd",
        "encryption=on", "encrypt.state=active", "backing_file=x", "backing_fmt=raw",
        "data_file=x", "data_file_raw=on", "data_file_raw=off", "nosuch=1", "help", "?", "", ",",
        "compat=1.1,refcount_bits=32", "compat=0.10,lazy_refcounts=off", "nolazy_refcounts",
      ])
    }
  }
}
