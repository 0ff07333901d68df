import Foundation
import QEMUTools
import Synchronization
import Testing

@testable import LaminaTool

/// A verb of qemu-img, and how calls of it look.
protocol PersonaVerb {
  static var name: String { get }
  /// Whether calls may change files: then what they leave is compared too.
  static var changesFiles: Bool { get }
  /// Adds options and operands to a call.
  static func grow(_ call: inout PersonaCall)
}

/// The binary called as `qemu-img`, beside the real one: random calls on random images give the
/// same exit status, the same output byte for byte and the same errors, but for what
/// docs/Deviations.md keeps.
enum PersonaOracle {
  /// Seeds of a verb's calls; each has a folder of images of its own.
  ///
  /// `LAMINA_SEEDS=20-59` runs others, or one that failed.
  static let seeds: [Int] = {
    let given = ProcessInfo.processInfo.environment["LAMINA_SEEDS"] ?? ""
    let ends = given.split(separator: "-").compactMap { Int($0) }
    guard let first = ends.first, let last = ends.last, first <= last else {
      return Array(0..<(Oracle.isLong ? 20 : 1))
    }
    return Array(first...last)
  }()
  private static let callsPerSeed = Oracle.isLong ? 10 : 5

  /// Makes the images of `seed`, and calls the verb on them.
  static func compare<Verb: PersonaVerb>(_ verb: Verb.Type, seed: Int) throws {
    try Oracle.withFolder { folder in
      let place = Place(folder)
      let zoo = try place.build(seed: UInt64(seed))
      for number in 0..<callsPerSeed {
        var call = PersonaCall(zoo, seed: UInt64(seed * 1000 + number))
        verb.grow(&call)
        call.addCommon()
        let words = [verb.name] + call.words()
        let (theirs, ours) = try place.answers(
          verb.changesFiles, { try real(words) }, { image(words) })
        guard !KeptDifferences.project.agree(verb.name, theirs: theirs, ours: ours) else {
          continue
        }
        let shown = words.map { $0.contains(" ") || $0.isEmpty ? "'\($0)'" : $0 }
        Issue.record(
          """
          seed \(seed), call \(number): qemu-img \(shown.joined(separator: " "))
          \(difference(theirs, ours))
          """)
      }
    }
  }

  /// Runs the real one, which does not always come to an end.
  private static func real(_ words: [String]) throws -> Oracle.Answer {
    try QEMUTools.run("timeout", ["30", "qemu-img"] + words)
  }

  /// Runs our tool as qemu-img, in this process.
  static func image(_ words: [String]) -> Oracle.Answer {
    let console = Console.captured()
    let status = Tool(console: console, persona: .image).run(words)
    return Oracle.Answer(
      status: status, output: console.printed.output, errors: console.printed.errors)
  }

  /// The lines in which two texts differ, those of QEMU with `-`.
  private static func difference(_ theirs: String, _ ours: String) -> String {
    let (left, right) = (theirs.split(separator: "\n"), ours.split(separator: "\n"))
    let changes = right.difference(from: left)
    return changes.prefix(12).map { change in
      switch change {
      case .remove(_, let line, _): "- \(line)"
      case .insert(_, let line, _): "+ \(line)"
      }
    }.joined(separator: "\n")
  }
}

/// A folder that is as it was before each call.
private struct Place {
  private let folder: String
  private let master: String
  /// The folder as each tool has left it.
  private let left: [String]

  init(_ folder: String) {
    self.folder = folder + "images/"
    master = folder + "master/"
    left = [folder + "theirs/", folder + "ours/"]
  }

  func build(seed: UInt64) throws -> PersonaZoo {
    try FileManager.default.createDirectory(
      atPath: folder, withIntermediateDirectories: true)
    let zoo = try PersonaZoo(folder, seed: seed)
    try FileManager.default.copyItem(atPath: folder, toPath: master)
    return zoo
  }

  /// What two calls answer, each as one text; with `restores`, what they have made of the files
  /// too, which are as before afterwards.
  func answers(
    _ restores: Bool, _ theirs: @escaping () throws -> Oracle.Answer,
    _ ours: @escaping () throws -> Oracle.Answer
  ) throws -> (theirs: String, ours: String) {
    var texts: [String] = []
    for (run, place) in zip([theirs, ours], left) {
      let answer = try run()
      texts.append("exit \(answer.status)\n\(answer.output)\n\(answer.errors)")
      guard restores else { continue }
      try FileManager.default.moveItem(atPath: folder, toPath: place)
      try FileManager.default.copyItem(atPath: master, toPath: folder)
    }
    guard restores else { return (texts[0], texts[1]) }
    // What one tool has written counts even where the other has not: a look may be a write.
    let contents = try left.map { try self.contents($0) }
    let before = try self.contents(master)
    let names = Set(contents.flatMap(\.keys)).union(before.keys).filter { name in
      contents.contains { $0[name] != before[name] }
    }
    for index in left.indices where !names.isEmpty {
      try FileManager.default.removeItem(atPath: folder)
      try FileManager.default.moveItem(atPath: left[index], toPath: folder)
      for name in names.sorted() {
        let isThere = contents[index][name] != nil
        texts[index] += "\n\(name): \(isThere ? try state(folder + name) : "gone")"
      }
    }
    for place in left + [folder] { try? FileManager.default.removeItem(atPath: place) }
    try FileManager.default.copyItem(atPath: master, toPath: folder)
    return (texts[0], texts[1])
  }

  private func contents(_ folder: String) throws -> [String: Data] {
    var contents: [String: Data] = [:]
    for name in try FileManager.default.contentsOfDirectory(atPath: folder) {
      contents[name] = try Data(contentsOf: URL(filePath: folder + name))
    }
    return contents
  }

  /// What the qemu tools see in an image: its facts, its faults, its bytes.
  private func state(_ path: String) throws -> String {
    let info = try QEMUTools.run("qemu-img", ["info", "--output=json", path])
    // Times, and what depends on where clusters lie.
    let facts = info.output.split(separator: "\n").filter { line in
      !["actual-size", "date-", "vm-clock"].contains { line.contains("\"\($0)") }
    }
    let check = try QEMUTools.run("timeout", ["10", "qemu-img", "check", path])
    let seen = facts.joined(separator: "\n") + "\ncheck: \(check.status)"
    let length =
      (try? JSONSerialization.jsonObject(with: Data(info.output.utf8)) as? [String: Any])?[
        "virtual-size"] as? Int ?? 0
    // What a damaged image shows depends on the clusters that were free for its writer; and some
    // are too long to copy.
    guard [0, 3].contains(check.status), length < 1 << 26 else { return seen }
    let copy = path + ".copy"
    let converted = try QEMUTools.run("qemu-img", ["convert", "-O", "raw", path, copy])
    let bytes = (try? Data(contentsOf: URL(filePath: copy))) ?? Data()
    try? FileManager.default.removeItem(atPath: copy)
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return seen + ", converted: \(converted.status), \(bytes.count) bytes \(hash)"
  }
}
