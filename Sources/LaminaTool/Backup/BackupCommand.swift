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
    subcommands: [Create.self, Restore.self, List.self])

  struct Create: ToolVerb {
    static let configuration = CommandConfiguration(
      abstract: "Back up what was written since the last backup; the first time, everything.")
    @Argument(help: "The disk, a qcow2 image.") var disk: String
    @Option(help: "The folder of backups.") var to: String
    @Option(help: "The granularity of the disk's bitmap, such as 64K.") var granularity: String?
    @Flag(help: "Make a full backup in any case.") var full = false
    @Option(help: "The most bytes to copy in a second, such as 100M.") var limit: String?
    @Option(help: "human or json.") var output: String?

    func perform(_ tool: Tool) async throws -> Int32 {
      let isJSON = try Output.isJSON(output)
      let session = try ImageSession(tool, policy: "confined")
      let folder = try await BackupFolder.open(FilePath(to), in: session.graph, creating: true)
      var request = BackupRequest(disk: FilePath(disk), isFull: full)
      request.granularity = try size(granularity, "granularity")
      request.limit = try size(limit, "limit") ?? 0
      request.onProgress = tool.watcher()
      let report = try await folder.create(request)
      if isJSON {
        tool.console.print(report.json.pretty())
      } else {
        tool.console.print(report.sentence)
      }
      return 0
    }
  }

  struct Restore: ToolVerb {
    static let configuration = CommandConfiguration(
      abstract: "Write a disk as it was at a backup to a new file.")
    @Argument(help: "The folder of backups.") var folder: String
    @Argument(help: "The new file.") var out: String
    @Option(help: "The number of the backup; the last without it.") var at: Int?
    @Option(name: .customShort("O"), help: "qcow2 or raw.") var format = "qcow2"

    func perform(_ tool: Tool) async throws -> Int32 {
      let session = try ImageSession(tool, policy: "confined")
      let backups = try await BackupFolder.open(FilePath(folder), in: session.graph)
      let number = try await backups.restore(
        at, to: FilePath(out), format: format, onProgress: tool.watcher())
      tool.console.print("Backup \(number) restored to '\(out)'.")
      return 0
    }
  }

  struct List: ToolVerb {
    static let configuration = CommandConfiguration(abstract: "Tell what backups a folder has.")
    @Argument(help: "The folder of backups.") var folder: String
    @Option(help: "human or json.") var output: String?

    func perform(_ tool: Tool) async throws -> Int32 {
      let isJSON = try Output.isJSON(output)
      let session = try ImageSession(tool, policy: "confined")
      let backups = try await BackupFolder.open(FilePath(folder), in: session.graph)
      var rows: [JSONText] = []
      for number in try backups.numbers() {
        let node = try await backups.open(number)
        let kind = node.backing == nil ? "full" : "incremental"
        if !isJSON {
          tool.console.print("\(number)\t\(kind)\t\(ByteSize.describe(node.length))")
        }
        rows.append(
          .object([
            ("number", .number(number)), ("kind", .string(kind)),
            ("virtual-size", .number(node.length)),
            ("filename", .string(backups.path(number).string)),
          ]))
        try await session.graph.close(node)
      }
      if isJSON { tool.console.print(JSONText.array(rows).pretty()) }
      return 0
    }
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

private func size(_ text: String?, _ option: String) throws(ToolFailure) -> Int? {
  try BackupCommand.size(text, option)
}

extension BackupReport {
  var sentence: String {
    let copied = ByteSize.describe(copiedBytes)
    if let fullReason {
      return "Backup \(number): full, \(copied) copied to '\(path)' (\(fullReason))."
    }
    return "Backup \(number): incremental, \(copied) copied to '\(path)'."
  }

  var json: JSONText {
    var fields: [(String, JSONText)] = [
      ("number", .number(number)),
      ("kind", .string(fullReason == nil ? "incremental" : "full")),
      ("copied-bytes", .number(copiedBytes)), ("filename", .string(path.string)),
    ]
    if let fullReason { fields.append(("reason", .string(fullReason))) }
    return .object(fields)
  }
}
