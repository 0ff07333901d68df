import Execution
import Foundation
import QEMUTools
import Testing

/// Internal snapshots, made, applied and deleted by us and by qemu-img in turn, with writes by both
/// in between: each shows what it showed when it was made, and nothing is wrong with the image.
@Suite(.serialized, .enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"))
struct SnapshotOracleTests {
  static let seeds = 0..<(Oracle.isLong ? 500 : 6)

  @Test(arguments: seeds)
  func bothToolsKeepEachOthersSnapshots(seed: Int) throws {
    try Oracle.withFolder { folder in
      var life = try SnapshotLife(folder, seed: UInt64(seed))
      for step in 0..<24 {
        try life.step()
        guard step % 4 == 3, let difference = try life.difference() else { continue }
        Issue.record("seed \(seed), step \(step), \(life.description): \(difference)")
        return
      }
    }
  }

  @Test func theToolAnswersAsQemuImgDoes() throws {
    try Oracle.withFolder { folder in
      let raw = folder + "raw"
      try Data(count: 1 << 20).write(to: URL(filePath: raw))
      let image = folder + "image.qcow2"
      let narrow = folder + "narrow.qcow2"
      try QEMUTools.run("qemu-img", ["create", "-q", "-f", "qcow2", image, "1M"])
      try QEMUTools.run(
        "qemu-img", ["create", "-q", "-f", "qcow2", "-o", "refcount_bits=1", narrow, "1M"])
      try QEMUTools.run("qemu-io", ["-c", "write 0 64k", narrow])
      try QEMUTools.run("qemu-img", ["snapshot", "-c", "one", image])
      let calls = [
        [], [image], ["-l", image], ["-l", "-c", "x", image], ["-c", "x"], ["-l", image, image],
        ["-a", "none", image], ["-d", "none", image], ["-d", "1", image], ["-U", "-c", "x", image],
        ["-l", raw], ["-l", "-U", image], ["-c", "x", narrow], ["-l", narrow],
        ["-a", "one", image], ["-q", "-a", "1", image], ["-l", folder + "missing"],
      ]
      for call in calls {
        var theirs = try QEMUTools.run("qemu-img", ["snapshot"] + call)
        theirs.errors = theirs.errors.replacingOccurrences(of: "qemu-img", with: "lamina")
        #expect(Oracle.lamina(["snapshot"] + call) == theirs, "\(call)")
      }
    }
  }
}

/// An image, and what its disk and its snapshots must show.
private struct SnapshotLife {
  private(set) var description: String
  private let folder: String
  private let image: String
  private let most: Int
  private var disk: [UInt8]
  private var snapshots: [(name: String, bytes: [UInt8])] = []
  private var random: SeededGenerator
  private var number = 0

  init(_ folder: String, seed: UInt64) throws {
    self.folder = folder
    image = folder + "disk.qcow2"
    random = SeededGenerator(seed: seed)
    let isVersion2 = Int.random(in: 0..<4, using: &random) == 0
    let width = isVersion2 ? 16 : 1 << Int.random(in: 1...6, using: &random)
    // A failed attempt of qemu-img leaks: the refcounts must suffice, while one is applied too.
    most = width == 2 ? 1 : 5
    var options =
      "cluster_size=\(1 << Int.random(in: 9...17, using: &random)),refcount_bits=\(width)"
      + ",compat=\(isVersion2 ? "0.10" : "1.1")"
    if !isVersion2, Int.random(in: 0..<4, using: &random) == 0 {
      options = "extended_l2=on,cluster_size=16384,refcount_bits=\(width)"
    }
    let size = Int.random(in: 1...3000, using: &random) * 512
    disk = [UInt8](repeating: 0, count: size)
    description = "\(options) \(size)"
    let words = ["create", "-q", "-f", "qcow2", "-o", options, image, String(size)]
    let answer = try QEMUTools.run("qemu-img", words)
    try #require(answer.status == 0, "\(words): \(answer.errors)")
  }

  /// Something by one of the two.
  mutating func step() throws {
    switch Int.random(in: 0..<8, using: &random) {
    case 0, 1:
      guard snapshots.count < most else { return try write() }
      number += 1
      try snapshot(["-c", "s\(number)"])
      snapshots.append(("s\(number)", disk))
    case 2:
      guard let target = snapshots.randomElement(using: &random) else { return try write() }
      try snapshot(["-a", target.name])
      disk = target.bytes
    case 3:
      guard let index = snapshots.indices.randomElement(using: &random) else { return try write() }
      try snapshot(["-d", snapshots.remove(at: index).name])
    default: try write()
    }
  }

  private mutating func snapshot(_ verb: [String]) throws {
    let words = ["snapshot"] + verb + [image]
    let isOurs = Bool.random(using: &random)
    let answer = isOurs ? Oracle.lamina(words) : try QEMUTools.run("qemu-img", words)
    description += "; \(isOurs ? "we" : "qemu") \(verb.joined(separator: " "))"
    try #require(answer.status == 0, "\(description): \(answer.errors)")
  }

  private mutating func write() throws {
    var words = ["-f", "qcow2", "-d", "unmap"]
    for _ in 0..<Int.random(in: 1...4, using: &random) {
      let offset = Int.random(in: 0..<disk.count, using: &random)
      let longest = [512, 9000, 150_000].randomElement(using: &random) ?? 512
      let count = Int.random(in: 1...min(longest, disk.count - offset), using: &random)
      let pattern = UInt8.random(in: 1...255, using: &random)
      let kind = Int.random(in: 0..<6, using: &random)
      let verb = kind == 0 ? "write -q -z" : kind == 1 ? "write -q -z -u" : "write -q -P \(pattern)"
      words += ["-c", "\(verb) \(offset) \(count)"]
      for index in offset..<offset + count { disk[index] = kind < 2 ? 0 : pattern }
    }
    words.append(image)
    let isOurs = Bool.random(using: &random)
    description += "; \(isOurs ? "we" : "qemu") write"
    let answer = isOurs ? Oracle.lamina(["io"] + words) : try QEMUTools.run("qemu-io", words)
    try #require(answer.status == 0, "\(words): \(answer.output)\(answer.errors)")
  }

  /// What one of the tools says otherwise than the model; nil when all agree.
  func difference() throws -> String? {
    let theirs = try QEMUTools.run("qemu-img", ["check", "--output=json", "-f", "qcow2", image])
    if theirs.status != 0 { return "qemu-img check: \(theirs.output)" }
    if !description.contains("extended_l2") {
      let ours = Oracle.lamina(["check", "--output=json", "-f", "qcow2", image])
      if ours != theirs { return "check: \(ours) and \(theirs)" }
    }
    let list = ["snapshot", "-l", image]
    let listed = try QEMUTools.run("qemu-img", list)
    let listedByUs = Oracle.lamina(list)
    if listed != listedByUs { return "list: \(listedByUs.output) and \(listed.output)" }
    if let difference = try compare(image, "qcow2", disk) { return "disk: \(difference)" }
    for snapshot in snapshots {
      let copy = folder + "copy.raw"
      let convert = ["convert", "-l", "snapshot.name=\(snapshot.name)", "-O", "raw", image, copy]
      let converted = try QEMUTools.run("qemu-img", convert)
      if converted.status != 0 { return "convert: \(converted.errors)" }
      if let difference = try compare(copy, "raw", snapshot.bytes) {
        return "snapshot \(snapshot.name): \(difference)"
      }
    }
    return nil
  }

  private func compare(_ file: String, _ format: String, _ bytes: [UInt8]) throws -> String? {
    let model = folder + "model.raw"
    try Data(bytes).write(to: URL(filePath: model))
    let compared = try QEMUTools.run(
      "qemu-img", ["compare", "-f", "raw", "-F", format, model, file])
    return compared.status == 0 ? nil : compared.output + compared.errors
  }
}
