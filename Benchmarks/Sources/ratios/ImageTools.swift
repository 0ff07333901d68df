internal import Foundation

/// The command `lamina` beside `qemu-img`, whole runs on an image of a real file system.
///
/// The page cache is warm, and nothing waits to be written when a sample begins.
final class ImageTools {
  static let suite = "image-tools"

  let lamina: String
  let qemuImg: String
  let folder: String
  /// The image as a raw file.
  let source: String
  private let isOwnSource: Bool
  /// The most memory that a contender's program had, by name.
  private var peakMemory: [String: Int] = [:]

  /// Takes the raw image `source`, or makes one of the Swift toolchain's libraries.
  init(lamina: String, qemuImg: String, source: String?, in place: String) throws {
    self.lamina = lamina
    self.qemuImg = qemuImg
    folder = "\(place)/lamina-ratios-\(ProcessInfo.processInfo.processIdentifier)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    isOwnSource = source == nil
    self.source = source ?? "\(folder)/source.raw"
    if isOwnSource { try Self.makeFileSystem(self.source) }
  }

  /// Removes all files.
  func close() throws { try FileManager.default.removeItem(atPath: folder) }

  /// An ext4 file system of 2.5 GiB with the libraries of the Swift toolchain.
  private static func makeFileSystem(_ path: String) throws {
    guard let swift = ChildProcess.path(of: "swift"), let mke2fs = ChildProcess.path(of: "mke2fs")
    else { throw RunnerError("mke2fs is not installed: name a raw image by --image") }
    let tree = URL(fileURLWithPath: swift).resolvingSymlinksInPath().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("lib").path
    try ChildProcess.run(mke2fs, "-q", "-t", "ext4", "-d", tree, path, "2560M")
  }

  func path(_ name: String) -> String { "\(folder)/\(name)" }

  /// Runs qemu-img to make what is measured.
  func prepare(_ words: String...) throws { try ChildProcess([qemuImg] + words).wait() }

  /// A case: the same words for both programs; `extra` are words for a second run of qemu-img's.
  func contest(
    _ operation: String, _ subject: String, _ words: [String], extra: [String] = [],
    before: @escaping () throws -> Void = {}
  ) -> Contest {
    func contender(_ name: String, _ words: [String]) -> Contender {
      var contender = Contender(requests: name) {
        let peak = try ChildProcess(words).wait()
        self.peakMemory[name] = max(self.peakMemory[name] ?? 0, peak)
      }
      contender.prepare = {
        try before()
        sync()
      }
      return contender
    }
    var contenders = [
      contender(Contender.ours, [lamina] + words), contender("qemu-img", [qemuImg] + words),
    ]
    if !extra.isEmpty {
      let words = [qemuImg, words[0]] + extra + words.dropFirst()
      contenders.append(contender("qemu-img \(extra.joined(separator: " "))", words))
    }
    return Contest(
      operation: operation, subject: subject, contenders: contenders, yardstick: "qemu-img")
  }

  /// The contest's row, with the memory of its programs.
  func row(_ contest: Contest, _ measurement: Measurement) async throws -> Row {
    peakMemory = [:]
    var row = try await contest.row(suite: Self.suite, measurement)
    row.peakMemoryBytes = peakMemory
    return row
  }
}
