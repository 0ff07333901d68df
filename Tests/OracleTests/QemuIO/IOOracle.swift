import Execution
import Foundation
import QEMUTools
import Testing

/// Runs scripts by both tools.
enum IOOracle {
  static let canRun = QEMUTools.areInstalled && LaminaCommand.path != nil

  /// Grows the script of `seed`, and has both tools run it on images that are equal.
  ///
  /// `mayLeak`: requests that fail may leave clusters behind that nobody uses.
  static func compare(
    seed: Int, label: String = "", kinds: [IOZoo.Kind] = IOZoo.kinds, mayLeak: Bool = false,
    _ grow: (inout IOScript) throws -> Void
  ) throws {
    try Oracle.withFolder { folder in
      var random = SeededGenerator(seed: UInt64(seed), label: label)
      let kind = kinds[Int.random(in: 0..<kinds.count, using: &random)]
      let zoo = try IOZoo(kind, in: folder, &random)
      var script = IOScript(kind, in: zoo.folder, random)
      try grow(&script)
      let lamina = folder + "qemu-io"
      try FileManager.default.createSymbolicLink(
        atPath: lamina, withDestinationPath: try #require(LaminaCommand.path))
      let theirs = try script.run(try #require(QEMUTools.path(of: "qemu-io")))
      let theirOutcome = try zoo.takeOutcome(kind)
      let ours = try script.run(lamina)
      let ourOutcome = try zoo.takeOutcome(kind)
      let rules = (try? String(contentsOfFile: folder + "rules", encoding: .utf8)) ?? ""
      let shown = script.shown.replacingOccurrences(of: folder, with: "") + "\n" + rules
      let isAgreed = KeptDifferences.project.agree(
        "qemu-io", theirs: theirs.description, ours: ours.description)
      #expect(
        isAgreed, "seed \(seed), \(kind): \(shown)\n--- theirs: \(theirs)\n--- ours: \(ours)")
      let comment = "seed \(seed), \(kind): \(shown)"
      // Not compared in the expectation, which would print the bytes.
      let isSameDisk = theirOutcome.bytes == ourOutcome.bytes
      // Sectors of a write that failed hold old or new bytes.
      let mayDiffer = mayLeak && ours.output.contains("write") && ours.output.contains(" failed: ")
      #expect(isSameDisk || mayDiffer, "the disks differ; \(comment)")
      // 63: raw files are not checked; 3: leaks alone.
      let isSound = [0, 63].contains(ourOutcome.check) || mayLeak && ourOutcome.check == 3
      #expect(isSound, "\(comment)\n\(ourOutcome.faults)")
    }
  }
}

extension IOScript {
  /// The call as a shell would have it.
  var shown: String {
    let words = options + [name] + (isInput ? [] : commands.flatMap { ["-c", $0] })
    let call = words.map { $0.contains(" ") || $0.isEmpty ? "'\($0)'" : $0 }
      .joined(separator: " ")
    return isInput ? "qemu-io \(call) << \(commands.joined(separator: "; "))" : "qemu-io \(call)"
  }

  /// Has a tool run it.
  func run(_ path: String) throws -> IOAnswer {
    let commands = isInput ? [] : commands.flatMap { ["-c", $0] }
    let words = options + [name] + commands
    // A request that stands at a breakpoint for good would hold the tests up.
    let process =
      try QEMUTools.path(of: "timeout").map { try ChildProcess($0, ["60", path] + words) }
      ?? ChildProcess(path, words)
    if isInput { try process.send(self.commands.map { $0 + "\n" }.joined()) }
    var answer = try process.finish()
    // The name in front of messages of the C library is that of the call.
    answer.errors = answer.errors.replacingOccurrences(of: path, with: "qemu-io")
    return IOAnswer(answer, isUnordered: isUnordered)
  }
}
