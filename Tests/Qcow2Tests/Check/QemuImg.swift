import Foundation
import QEMUTools

/// What `qemu-img` says of an image.
enum QemuImg {
  /// What `qemu-img check` says of an image; nil where it refuses it or cannot complete.
  struct Check: Equatable {
    var leaks = 0
    var corruptions = 0
    var imageEndOffset = 0
    var totalClusters = 0
    var allocatedClusters = 0
    var fragmentedClusters = 0
    var compressedClusters = 0
  }

  static func check(_ path: String) throws -> (status: Int32, result: Check?) {
    let answer = try QEMUTools.run(
      "qemu-img", ["check", "-f", "qcow2", "--output=json", path])
    guard answer.status != 1,
      let object = try? JSONSerialization.jsonObject(with: Data(answer.output.utf8)),
      let fields = object as? [String: Any]
    else { return (answer.status, nil) }
    func number(_ key: String) -> Int { fields[key] as? Int ?? 0 }
    let truths = trueFlags(in: answer.errors, clusterBits: try clusterBits(of: path))
    let corruptions = number("corruptions") - truths
    let isOnlyLeaky = answer.status == 2 && corruptions == 0 && number("leaks") > 0
    return (
      isOnlyLeaky ? 3 : answer.status,
      Check(
        leaks: number("leaks"), corruptions: corruptions,
        imageEndOffset: number("image-end-offset"), totalClusters: number("total-clusters"),
        allocatedClusters: number("allocated-clusters"),
        fragmentedClusters: number("fragmented-clusters"),
        compressedClusters: number("compressed-clusters"))
    )
  }

  private static func clusterBits(of path: String) throws -> Int {
    Int(try Data(contentsOf: URL(fileURLWithPath: path))[23])
  }

  /// How many of the findings are copied flags of clusters with one reference that is counted too
  /// high: for us a leak and no more.
  private static func trueFlags(in errors: String, clusterBits: Int) -> Int {
    let leak = /Leaked cluster (\d+) refcount=\d+ reference=1\n/
    let flag = /ERROR OFLAG_COPIED .*l[12]_entry=(8[0-9a-f]{15}) refcount=/
    let leaked = Set(errors.matches(of: leak).compactMap { Int($0.1) })
    return errors.matches(of: flag).count { match in
      let entry = UInt64(match.1, radix: 16) ?? 0
      return leaked.contains(Int(entry & 0x00ff_ffff_ffff_fe00) >> clusterBits)
    }
  }
}

/// A folder that is removed when it is no longer used.
final class ScratchFolder: Sendable {
  let path: String

  init() throws {
    let url = FileManager.default.temporaryDirectory
      .appendingPathComponent("qcow2-check-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    path = url.path
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func file(_ name: String) -> String { "\(path)/\(name)" }
}
