internal import Foundation

/// What is measured, in the order of the table.
extension ImageTools {
  /// Each makes what it needs when it is asked for, so that one after the other is on the disk.
  var stages: [() throws -> [Contest]] {
    [plainConversions, decompressions, compressions, readings, checkOfMany, overlays, benches]
  }

  private func conversion(
    _ subject: String, _ words: [String], extra: [String] = ["-W"]
  ) -> Contest {
    let target = path("target")
    return contest("convert", subject, ["convert"] + words + [target], extra: extra) {
      try? FileManager.default.removeItem(atPath: target)
    }
  }

  private func plainConversions() throws -> [Contest] {
    try prepare("convert", "-f", "raw", "-O", "qcow2", source, path("plain.qcow2"))
    return [
      conversion("raw to qcow2", ["-f", "raw", "-O", "qcow2", source]),
      conversion("qcow2 to raw", ["-f", "qcow2", "-O", "raw", path("plain.qcow2")]),
    ]
  }

  private func compressing(_ type: String) -> [String] {
    ["-c", "-f", "raw", "-O", "qcow2", "-o", "compression_type=\(type)"]
  }

  private func decompressions() throws -> [Contest] {
    try ["zlib", "zstd"].map { type in
      let compressed = path("\(type).qcow2")
      try ChildProcess(
        [qemuImg, "convert", "-W", "-m", "4"] + compressing(type) + [source, compressed]
      ).wait()
      return conversion("\(type) to raw", ["-f", "qcow2", "-O", "raw", compressed])
    }
  }

  private func compressions() -> [Contest] {
    ["zlib", "zstd"].map { conversion("raw to \($0)", compressing($0) + [source]) }
  }

  private func readings() -> [Contest] {
    let image = path("plain.qcow2")
    return [
      contest("compare", "raw, qcow2", ["compare", "-f", "raw", "-F", "qcow2", source, image]),
      contest("check", "2.5 GiB", ["check", "-f", "qcow2", image]),
      contest("map", "2.5 GiB", ["map", "--output=json", "-f", "qcow2", image]),
      contest("measure", "2.5 GiB", ["measure", "-f", "qcow2", "-O", "qcow2", image]),
    ]
  }

  private func checkOfMany() throws -> [Contest] {
    let image = path("many.qcow2")
    try prepare("create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", image, "256G")
    return [contest("check", "2^22 clusters", ["check", "-f", "qcow2", image])]
  }

  /// An overlay whose clusters are all there, on top of an older state of the disk.
  private func overlays() throws -> [Contest] {
    let (base, other, top) = (path("base.qcow2"), path("other.qcow2"), path("top.qcow2"))
    let (keptBase, keptTop) = (path("base.kept"), path("top.kept"))
    try prepare("create", "-q", "-f", "qcow2", keptBase, "2560M")
    try prepare("create", "-q", "-f", "qcow2", other, "2560M")
    try FileManager.default.copyItem(atPath: keptBase, toPath: base)
    try prepare(
      "convert", "-f", "raw", "-O", "qcow2", "-B", "base.qcow2", "-F", "qcow2", source, keptTop)
    func renew(_ pairs: [(kept: String, path: String)]) throws {
      for pair in pairs {
        try? FileManager.default.removeItem(atPath: pair.path)
        try FileManager.default.copyItem(atPath: pair.kept, toPath: pair.path)
      }
    }
    return [
      contest("commit", "2 GiB", ["commit", "-q", "-f", "qcow2", top]) {
        try renew([(keptBase, base), (keptTop, top)])
      },
      contest(
        "safe rebase", "2 GiB", ["rebase", "-f", "qcow2", "-b", "other.qcow2", "-F", "qcow2", top]
      ) {
        try renew([(keptBase, base), (keptTop, top)])
      },
    ]
  }

  /// The verb `bench`, on a copy that may be written.
  private func benches() throws -> [Contest] {
    let image = path("bench.qcow2")
    try FileManager.default.copyItem(atPath: path("plain.qcow2"), toPath: image)
    let counts = [4096: 75_000, 65536: 15_000]
    return [4096, 65536].flatMap { size in
      [1, 32].flatMap { depth in
        [[], ["-w"]].map { writing in
          contest(
            writing.isEmpty ? "bench reads" : "bench writes", "\(size >> 10) KiB, depth \(depth)",
            [
              "bench", "-f", "qcow2", "-t", "writeback", "-s", "\(size)", "-d", "\(depth)", "-c",
              "\(counts[size] ?? 0)",
            ] + writing + [image], extra: ["-i", "io_uring"])
        }
      }
    }
  }
}
