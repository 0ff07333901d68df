import Foundation
import QEMUTools
import Testing

/// `info` beside qemu-img's, letter by letter.
@Suite(.enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"))
struct InfoOracleTests {
  /// What `qemu-img` is asked to do to an image of 10 MiB.
  static let images: [(options: String, verbs: [[String]])] = [
    ("compat=1.1", []),
    ("compat=0.10", [["snapshot", "-c", "one"]]),
    (
      "cluster_size=4096,refcount_bits=64",
      [["snapshot", "-c", "one"], ["snapshot", "-c", "two"]]
    ),
    ("lazy_refcounts=on", [["snapshot", "-c", "a name that is longer than its column"]]),
    ("extended_l2=on,cluster_size=131072", []),
    (
      "compression_type=zstd", [["bitmap", "--add", "b"], ["bitmap", "--add", "-g", "4096", "c"]]
    ),
  ]

  @Test(arguments: images.indices, [false, true])
  func infoIsThatOfQemuImg(index: Int, isOverlay: Bool) throws {
    try Oracle.withFolder { folder in
      let (options, verbs) = Self.images[index]
      let image = folder + "a.qcow2"
      var create = ["create", "-q", "-f", "qcow2", "-o", options]
      if isOverlay {
        try QEMUTools.run("qemu-img", ["create", "-q", "-f", "raw", folder + "base.raw", "10M"])
        create += ["-b", "base.raw", "-F", "raw"]
      }
      try QEMUTools.run("qemu-img", create + [image, "10M"])
      for verb in verbs {
        // The image's name stands before that of a bitmap, and after that of a snapshot.
        let words =
          verb[0] == "bitmap" ? verb.dropLast() + [image, verb[verb.count - 1]] : verb + [image]
        let done = try QEMUTools.run("qemu-img", Array(words))
        #expect(done.status == 0, "\(done.errors)")
      }
      for form in ["human", "json"] {
        let words = ["info", "--output=\(form)", image]
        let theirs = try QEMUTools.run("qemu-img", words)
        let ours = Oracle.lamina(words)
        #expect(ours == theirs, "\(options) \(form)")
      }
    }
  }
}
