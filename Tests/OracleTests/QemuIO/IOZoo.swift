import Execution
import Foundation
import QEMUTools
import Testing

/// A folder with an image of one kind, which qemu's tools have made and written.
struct IOZoo {
  /// A kind of image.
  struct Kind: CustomStringConvertible, Sendable {
    let description: String
    let format: String
    /// The options of qemu-img create.
    let options: String
    let size: Int
    var hasBacking = false
    var isCompressed = false
    var isRawBacking = false

    /// The unit in which the image allocates; 512 for raw files.
    var cluster: Int {
      let item = options.split(separator: ",").first { $0.hasPrefix("cluster_size=") }
      return item.flatMap { Int($0.dropFirst("cluster_size=".count)) }
        ?? (format == "raw" ? 512 : 65536)
    }
    var hasDataFile: Bool { options.contains("data_file") }
  }

  static let kinds: [Kind] = [
    Kind(description: "raw", format: "raw", options: "", size: 1 << 20),
    Kind(description: "odd raw", format: "raw", options: "", size: 1_000_000),
    Kind(description: "plain", format: "qcow2", options: "compat=1.1", size: 4 << 20),
    Kind(
      description: "version 2", format: "qcow2", options: "compat=0.10,cluster_size=512",
      size: 300_032),
    Kind(
      description: "narrow", format: "qcow2", options: "cluster_size=4096,refcount_bits=1",
      size: 1 << 20),
    Kind(
      description: "subclusters", format: "qcow2", options: "extended_l2=on,cluster_size=32768",
      size: 2 << 20),
    Kind(
      description: "large clusters", format: "qcow2", options: "cluster_size=2097152",
      size: 9 << 20),
    Kind(
      description: "overlay", format: "qcow2", options: "cluster_size=16384", size: 2 << 20,
      hasBacking: true),
    Kind(
      description: "version 2 overlay", format: "qcow2", options: "compat=0.10", size: 3 << 20,
      hasBacking: true, isRawBacking: true),
    Kind(
      description: "overlay with subclusters", format: "qcow2",
      options: "extended_l2=on,cluster_size=65536", size: 2 << 20, hasBacking: true,
      isRawBacking: true),
    Kind(
      description: "data file", format: "qcow2", options: "data_file=data.bin", size: 2 << 20),
    Kind(
      description: "raw data file", format: "qcow2",
      options: "data_file=data.bin,data_file_raw=on", size: 2 << 20),
    Kind(
      description: "compressed", format: "qcow2", options: "cluster_size=8192", size: 1 << 20,
      isCompressed: true),
    Kind(
      description: "wide lazy", format: "qcow2",
      options: "refcount_bits=64,lazy_refcounts=on,cluster_size=65536", size: 2 << 20),
  ]

  /// Where the image is while a tool works on it, with a slash at its end.
  let folder: String
  private let master: String

  /// The image, and what stands beside it.
  var image: String { folder + "disk" }

  /// Makes an image of `kind`; `random` decides what is written into it.
  init(_ kind: Kind, in parent: String, _ random: inout SeededGenerator) throws {
    folder = parent + "images/"
    master = parent + "master/"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    try Data((0..<700).map { UInt8($0 % 251) }).write(to: URL(filePath: folder + "pattern"))
    try Data().write(to: URL(filePath: folder + "nothing"))
    try make(kind, &random)
    try FileManager.default.copyItem(atPath: folder, toPath: master)
  }

  private func run(_ tool: String, _ words: [String]) throws {
    let answer = try QEMUTools.run(tool, words)
    try #require(answer.status == 0, "\(tool) \(words): \(answer.errors)\(answer.output)")
  }

  private func make(_ kind: Kind, _ random: inout SeededGenerator) throws {
    let options = kind.options.replacingOccurrences(of: "=data.bin", with: "=\(folder)data.bin")
    var words = ["create", "-q", "-f", kind.format]
    if !options.isEmpty { words += ["-o", options] }
    if kind.hasBacking {
      let format = kind.isRawBacking ? "raw" : "qcow2"
      let base = folder + "base"
      try run("qemu-img", ["create", "-q", "-f", format, base, "\(kind.size * 3 / 4)"])
      try write(base, format, kind.size * 3 / 4, 16384, &random)
      words += ["-b", "base", "-F", format]
    }
    if kind.isCompressed {
      let plain = folder + "plain"
      try run("qemu-img", ["create", "-q", "-f", "raw", plain, "\(kind.size)"])
      try write(plain, "raw", kind.size, kind.cluster, &random)
      try run("qemu-img", ["convert", "-c", "-O", "qcow2", "-o", options, plain, image])
      try FileManager.default.removeItem(atPath: plain)
    } else {
      try run("qemu-img", words + [image, "\(kind.size)"])
      try write(image, kind.format, kind.size, kind.cluster, &random)
    }
  }

  private func write(
    _ path: String, _ format: String, _ size: Int, _ cluster: Int,
    _ random: inout SeededGenerator
  ) throws {
    var words = ["-f", format, "-t", "unsafe"]
    for _ in 0..<Int.random(in: 0...5, using: &random) {
      let offset = Int.random(in: 0..<size / 512, using: &random) * 512
      let count = min(
        Int.random(in: 1...3, using: &random) * max(cluster, 4096), size * 7 / 8 - offset)
      guard count > 0 else { continue }
      words += ["-c", "write -q -P \(Int.random(in: 1...255, using: &random)) \(offset) \(count)"]
    }
    if words.count > 4 { try run("qemu-io", words + [path]) }
  }

  // MARK: - Afterwards

  /// What a tool has made of the image: the disk's bytes, and what `qemu-img check` says.
  struct Outcome {
    let bytes: Data
    let check: Int32
    let faults: String
  }

  /// Looks at the image, and makes the folder what it was.
  func takeOutcome(_ kind: Kind) throws -> Outcome {
    let copy = folder + "copy"
    try run("qemu-img", ["convert", "-f", kind.format, "-O", "raw", image, copy])
    let bytes = try Data(contentsOf: URL(filePath: copy))
    let check = try QEMUTools.run("qemu-img", ["check", "-f", kind.format, image])
    try FileManager.default.removeItem(atPath: folder)
    try FileManager.default.copyItem(atPath: master, toPath: folder)
    return Outcome(bytes: bytes, check: check.status, faults: check.output + check.errors)
  }
}
