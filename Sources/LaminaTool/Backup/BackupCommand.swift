internal import ArgumentParser
internal import BlockLayer
internal import Lamina
internal import Primitives
internal import SystemPackage

/// `lamina backup`: our own verbs.
struct BackupCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lamina backup",
    abstract: "Full and incremental backups of qcow2 disks that nobody writes to.",
    discussion: """
      Exit status: 0 done; 1 an error, said on one line, or a run that was interrupted; \
      2 `verify` found something wrong.
      """,
    subcommands: [Create.self, List.self, Verify.self, Prune.self, Restore.self])

  struct Create: ToolVerb {
    static let configuration = CommandConfiguration(
      abstract: "Back up what was written since the last backup; the first time, everything.")
    @Argument(help: "The disk, a qcow2 image.") var disk: String
    @Option(help: "The folder of backups; made if it is not there.") var to: String
    @Flag(help: "Make a full backup in any case.") var full = false
    @Option(help: "Make a full backup after so many that stand on each other.") var fullEvery: Int?
    @Option(help: "The granularity of the disk's bitmap, such as 64K.") var granularity: String?
    @Option(help: "The most bytes to copy in a second, such as 100M.") var limit: String?
    @Flag(help: "Compress the backup's file.") var compress = false
    @Flag(help: "Go on with a disk that never belonged to this folder, by a full backup.")
    var adopt = false
    @Option(help: "human or json.") var output: String?

    func perform(_ tool: Tool) async throws -> Int32 {
      let isJSON = try Output.isJSON(output)
      if let fullEvery, fullEvery < 1 {
        throw ToolFailure(
          message: "--full-every '\(fullEvery)' is no number of backups; write 1 or more")
      }
      let chain = try BackupSession(tool).chain(to)
      var request = BackupRequest(disk: FilePath(disk))
      request.isFull = full
      request.fullEvery = fullEvery
      request.adopts = adopt
      request.compresses = compress
      request.granularity = try BackupSession.size(granularity, "granularity")
      request.limit = try BackupSession.size(limit, "limit") ?? 0
      request.onProgress = tool.watcher()
      let report = try await chain.create(request)
      tool.warn(report.notes)
      tool.console.print(isJSON ? report.json.pretty() : report.sentence)
      return 0
    }
  }

  struct Restore: ToolVerb {
    static let configuration = CommandConfiguration(
      abstract: "Write a disk as it was at a backup to a new file.")
    @Argument(help: "The folder of backups.") var chain: String
    @Argument(help: "The new file.") var out: String
    @Option(help: "The number of the backup; the last without it.") var at: Int?
    @Option(name: .customShort("O"), help: "qcow2 or raw.") var format = "qcow2"
    @Option(help: "human or json.") var output: String?

    func perform(_ tool: Tool) async throws -> Int32 {
      let isJSON = try Output.isJSON(output)
      let backups = try BackupSession(tool).chain(chain)
      let number = try await backups.restore(
        at, to: FilePath(out), format: format, onProgress: tool.watcher())
      if isJSON {
        let report = JSONText.object([
          ("number", .number(number)), ("filename", .string(out)), ("format", .string(format)),
        ])
        tool.console.print(report.pretty())
      } else {
        tool.console.print("Backup \(number) restored to '\(out)'.")
      }
      return 0
    }
  }

  struct Prune: ToolVerb {
    static let configuration = CommandConfiguration(
      abstract: "Remove old backups; what is kept can be restored as before.")
    @Argument(help: "The folder of backups.") var chain: String
    @Option(help: "Keep so many of the newest; without it, those since the last full one.")
    var keep: Int?
    @Option(help: "human or json.") var output: String?

    func perform(_ tool: Tool) async throws -> Int32 {
      let isJSON = try Output.isJSON(output)
      let backups = try BackupSession(tool).chain(chain)
      let report = try await backups.prune(keep: keep, onProgress: tool.watcher())
      if isJSON {
        var fields: [(String, JSONText)] = [
          ("removed", .array(report.removed.map { .number($0) }))
        ]
        if let made = report.made { fields.append(("made-full", .number(made))) }
        tool.console.print(JSONText.object(fields).pretty())
        return 0
      }
      if let made = report.made { tool.console.print("Backup \(made) is a full one now.") }
      switch report.removed.count {
      case 0: tool.console.print("Nothing to remove.")
      case 1: tool.console.print("Backup \(report.removed[0]) removed.")
      default:
        tool.console.print(
          "Backups \(report.removed[0]) to \(report.removed[report.removed.count - 1]) removed.")
      }
      return 0
    }
  }
}

/// What the verbs of `lamina backup` have in common.
struct BackupSession {
  private let session: ImageSession

  init(_ tool: Tool) throws { session = try ImageSession(tool, policy: "confined") }

  func chain(_ folder: String) -> BackupChain {
    BackupChain(at: FilePath(folder), in: session.graph)
  }

  /// The size that an option names.
  static func size(_ text: String?, _ option: String) throws(ToolFailure) -> Int? {
    guard let text else { return nil }
    guard let size = ByteSize.parse(text) else {
      throw ToolFailure(message: "--\(option) '\(text)' is no size; write 64K, 100M, 1G")
    }
    return size
  }
}

extension Tool {
  /// Tells what was found out of order.
  func warn(_ notes: [String]) {
    for note in notes { console.complain("\(name): warning: \(note)") }
  }
}

extension BackupReport {
  var sentence: String {
    let data = ByteSize.describe(backup.stored ?? 0)
    if backup.kind == .full {
      return "Backup \(backup.number): full, \(data) of data in '\(path)' "
        + "(\(backup.reason ?? ""))."
    }
    return "Backup \(backup.number): incremental, \(data) of data in '\(path)'."
  }

  var json: JSONText {
    guard case .object(let fields) = backup.json else { return backup.json }
    return .object(fields + [("path", .string(path.string))])
  }
}

extension Manifest.Backup {
  var json: JSONText {
    var fields: [(String, JSONText)] = [
      ("number", .number(number)), ("kind", .string(kind.rawValue)), ("filename", .string(file)),
      ("virtual-size", .number(size)),
    ]
    if let copied { fields.append(("copied-bytes", .number(copied))) }
    if let stored { fields.append(("data-bytes", .number(stored))) }
    if let time { fields.append(("time", .number(time))) }
    if let reason { fields.append(("reason", .string(reason))) }
    if let digest { fields.append(("digest", .string(digest))) }
    return .object(fields)
  }
}
