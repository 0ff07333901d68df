import Execution
import Foundation
import QEMUTools
import Testing

/// Copies, commits, rebases and measures of random chains, beside qemu-img's.
@Suite(.serialized, .enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"))
struct ConvertOracleTests {
  static let seeds = 0..<(Oracle.isLong ? 300 : 6)

  @Test(arguments: seeds)
  func copiesAreIdenticalAndNoLarger(seed: Int) throws {
    try Oracle.withFolder { folder in
      var chain = try RandomChain(folder, seed: UInt64(seed))
      let format = chain.pick(["raw", "qcow2"])
      var words = ["convert", "-f", "qcow2", "-O", format]
      if format == "qcow2", chain.pick([true, false]) {
        words += ["-o", "cluster_size=\(chain.pick([512, 4096, 65536, 2 << 20]))"]
      }
      if chain.pick([true, false]) { words += ["-S", chain.pick(["4k", "64k", "512"])] }
      let ours = folder + "ours"
      let theirs = folder + "theirs"
      let answer = Oracle.lamina(words + chain.pick([[], ["-W", "-m", "4"]]) + [chain.top, ours])
      #expect(answer == Oracle.Answer(status: 0, output: "", errors: ""), "seed \(seed)")
      try expectSuccess(QEMUTools.run("qemu-img", words + [chain.top, theirs]), seed)
      try expectSame(chain.top, ours, format, seed)
      if format == "qcow2" {
        try expectSuccess(QEMUTools.run("qemu-img", ["check", "-f", "qcow2", ours]), seed)
      }
      #expect(try allocated(ours, format) <= allocated(theirs, format), "seed \(seed): \(words)")
    }
  }

  @Test(arguments: seeds)
  func aCommittedChainShowsWhatItShowed(seed: Int) throws {
    try Oracle.withFolder { folder in
      let chain = try RandomChain(folder, seed: UInt64(seed), layers: 2)
      let copy = folder + "copy.raw"
      let convert = ["convert", "-f", "qcow2", "-O", "raw", chain.top, copy]
      try expectSuccess(QEMUTools.run("qemu-img", convert), seed)
      let answer = Oracle.lamina(["commit", "-f", "qcow2", chain.top])
      #expect(answer.output == "Image committed.\n" && answer.status == 0, "seed \(seed)")
      try expectSame(copy, chain.top, "qcow2", seed, copyFormat: "raw")
      for image in [chain.top, chain.below] {
        try expectSuccess(QEMUTools.run("qemu-img", ["check", "-f", "qcow2", image]), seed)
      }
      let map = try QEMUTools.run(
        "qemu-img", ["map", "-f", "qcow2", "--output=json", chain.top]
      ).output
      #expect(!map.contains("\"depth\": 0, \"present\": true"), "seed \(seed): \(map)")
    }
  }

  @Test(arguments: seeds)
  func aRebasedImageShowsWhatItShowed(seed: Int) throws {
    try Oracle.withFolder { folder in
      var chain = try RandomChain(folder, seed: UInt64(seed), layers: 2)
      let other = try RandomChain(
        folder, stem: "other-", seed: UInt64(seed) + 1000, layers: 1)
      let copy = folder + "copy.raw"
      let convert = ["convert", "-f", "qcow2", "-O", "raw", chain.top, copy]
      try expectSuccess(QEMUTools.run("qemu-img", convert), seed)
      let name = URL(filePath: chain.pick([other.top, chain.below])).lastPathComponent
      let backing = chain.pick([["-b", ""], ["-b", name, "-F", "qcow2"]])
      let answer = Oracle.lamina(["rebase", "-f", "qcow2"] + backing + [chain.top])
      #expect(answer == Oracle.Answer(status: 0, output: "", errors: ""), "seed \(seed)")
      try expectSame(copy, chain.top, "qcow2", seed, copyFormat: "raw")
      try expectSuccess(QEMUTools.run("qemu-img", ["check", "-f", "qcow2", chain.top]), seed)
    }
  }

  @Test(arguments: seeds)
  func measuresAreEqual(seed: Int) throws {
    try Oracle.withFolder { folder in
      var chain = try RandomChain(folder, seed: UInt64(seed))
      for _ in 0..<6 {
        var options = ["cluster_size=\(1 << chain.pick(Array(9...21)))"]
        if chain.pick([true, false]) {
          options.append("compat=0.10")
        } else {
          options.append("refcount_bits=\(1 << chain.pick(Array(0...6)))")
        }
        if chain.pick([0, 1, 2]) == 0 { options = ["backing_file=x,backing_fmt=raw"] }
        let format = chain.pick(["qcow2", "qcow2", "raw"])
        var words = ["measure", "-O", format]
        if format == "qcow2" { words += ["-o", options.joined(separator: ",")] }
        if chain.pick([true, false]) { words.append("--output=json") }
        words += chain.pick([
          ["-f", "qcow2", chain.top], ["--size", "\(chain.pick([0, 1, 1000, 1 << 30, 5 << 40]))"],
        ])
        let theirs = try QEMUTools.run("qemu-img", words)
        let ours = Oracle.lamina(words)
        #expect(ours.output == theirs.output && ours.status == theirs.status, "\(words)")
      }
    }
  }

  // MARK: - Looking

  private func expectSuccess(_ answer: Oracle.Answer, _ seed: Int) throws {
    try #require(answer.status == 0, "seed \(seed): \(answer.output)\(answer.errors)")
  }

  private func expectSame(
    _ one: String, _ other: String, _ format: String, _ seed: Int, copyFormat: String = "qcow2"
  ) throws {
    let words = ["compare", "-f", copyFormat, "-F", format, one, other]
    try expectSuccess(QEMUTools.run("qemu-img", words), seed)
  }

  /// The bytes that the image itself has as data, as qemu-img sees them.
  private func allocated(_ path: String, _ format: String) throws -> Int {
    let map = try QEMUTools.run("qemu-img", ["map", "-f", format, "--output=json", path]).output
    struct Run: Decodable {
      let length: Int
      let data: Bool
    }
    let runs = try JSONDecoder().decode([Run].self, from: Data(map.utf8))
    return runs.filter(\.data).reduce(0) { $0 + $1.length }
  }
}

/// A chain of qcow2 images, perhaps on a raw one, made and written by qemu's tools.
private struct RandomChain {
  private(set) var top = ""
  private(set) var below = ""
  private var random: SeededGenerator

  init(_ folder: String, stem: String = "", seed: UInt64, layers: Int? = nil) throws {
    random = SeededGenerator(seed: seed, label: "chain")
    let prefix = folder + stem
    var base: String?
    if pick([true, false]) {
      let name = prefix + "base.raw"
      let bytes = (0..<pick([512, 70_000, 1_000_001])).map { UInt8(truncatingIfNeeded: $0 / 700) }
      try Data(bytes).write(to: URL(filePath: name))
      base = "base.raw"
    }
    for layer in 0..<(layers ?? pick([1, 2, 3])) {
      let name = prefix + "layer\(layer).qcow2"
      let options =
        "cluster_size=\(1 << pick(Array(9...17))),compat=\(pick(["0.10", "1.1", "1.1"]))"
      var words = ["create", "-q", "-f", "qcow2", "-o", options]
      if let base { words += ["-b", stem + base, "-F", layer == 0 ? "raw" : "qcow2"] }
      words += [name, "\(pick(Array(1...3000)) * 512)"]
      try #require(try QEMUTools.run("qemu-img", words).status == 0, "\(words)")
      below = top
      top = name
      base = "layer\(layer).qcow2"
      try scribble()
    }
  }

  mutating func pick<T>(_ choices: [T]) -> T {
    choices[Int.random(in: 0..<choices.count, using: &random)]
  }

  private mutating func scribble() throws {
    let info = try QEMUTools.run("qemu-img", ["info", "--output=json", "-f", "qcow2", top])
    struct Info: Decodable {
      let size: Int
      enum CodingKeys: String, CodingKey { case size = "virtual-size" }
    }
    let size = try JSONDecoder().decode(Info.self, from: Data(info.output.utf8)).size
    var words = ["-f", "qcow2"]
    for _ in 0..<pick(Array(0...8)) {
      let start = Int.random(in: 0..<size, using: &random)
      let count = min(size - start, pick([512, 5000, 100_000, 400_000]))
      let verb = pick(["write -z", "write -z -u", "write -P 0", "write -P 7", "write -P 9"])
      words += ["-c", "\(verb) \(start) \(count)"]
    }
    guard words.count > 2 else { return }
    let answer = try QEMUTools.run("qemu-io", words + [top])
    try #require(answer.status == 0, "\(answer.output)")
  }
}
