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
    return (
      answer.status,
      Check(
        leaks: number("leaks"), corruptions: number("corruptions"),
        imageEndOffset: number("image-end-offset"), totalClusters: number("total-clusters"),
        allocatedClusters: number("allocated-clusters"),
        fragmentedClusters: number("fragmented-clusters"),
        compressedClusters: number("compressed-clusters"))
    )
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
