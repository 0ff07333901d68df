internal import ArgumentParser
internal import BlockLayer
internal import FoundationEssentials
internal import Lamina
internal import Primitives
internal import SystemPackage

extension BackupCommand {
  struct List: ToolVerb {
    static let configuration = CommandConfiguration(abstract: "Tell what backups a folder has.")
    @Argument(help: "The folder of backups.") var chain: String
    @Flag(help: "Draw what each backup holds.") var map = false
    @Option(help: "human or json.") var output: String?

    func perform(_ tool: Tool) async throws -> Int32 {
      let isJSON = try Output.isJSON(output)
      let backups = try BackupSession(tool).chain(chain)
      let listing = try await backups.list()
      tool.warn(listing.notes)
      if isJSON {
        tool.console.print(json(listing).pretty())
        return 0
      }
      for backup in listing.manifest.backups {
        let isMissing = listing.missing.contains(backup.number)
        tool.console.print(line(backup, isMissing))
        guard map, !isMissing else { continue }
        let picture = DirtyMap(
          try await backups.contents(of: backup.number), columns: min(tool.console.width, 100))
        picture.lines.forEach(tool.console.print)
      }
      return 0
    }

    private func line(_ backup: Manifest.Backup, _ isMissing: Bool) -> String {
      var fields = [String(backup.number), backup.kind.rawValue]
      fields.append(backup.time.map(day) ?? "unknown")
      fields.append(ByteSize.describe(backup.size))
      fields.append(backup.stored.map { ByteSize.describe($0) + " of data" } ?? "")
      if isMissing { fields.append("its file '\(backup.file)' is missing") }
      return fields.joined(separator: "\t")
    }

    private func day(_ time: Int) -> String {
      let date: Date = .init(timeIntervalSince1970: Double(time))
      return date.ISO8601Format()
    }

    private func json(_ listing: ChainListing) -> JSONText {
      .object([
        ("chain", .string(listing.manifest.chain)),
        (
          "backups",
          .array(
            listing.manifest.backups.map { backup in
              guard case .object(let fields) = backup.json else { return backup.json }
              return .object(
                fields + [("missing", .bool(listing.missing.contains(backup.number)))])
            })
        ),
      ])
    }
  }

  struct Verify: ToolVerb {
    static let configuration = CommandConfiguration(
      abstract: "Check that each backup holds what was put into it.",
      discussion: "Exit status 2 when something is wrong.")
    @Argument(help: "The folder of backups.") var chain: String
    @Option(help: "Also compare the last backup with this disk, but for what changed since.")
    var against: String?
    @Flag(help: "Note the digests of backups that have none on record.") var record = false
    @Option(help: "human or json.") var output: String?

    func perform(_ tool: Tool) async throws -> Int32 {
      let isJSON = try Output.isJSON(output)
      let backups = try BackupSession(tool).chain(chain)
      let watch = tool.watcher()
      let show = { watch(JobProgress(current: $0, total: $1)) }
      let disk = against.map { FilePath($0) }
      let report =
        record
        ? try await backups.verifyAndRecord(against: disk, onProgress: show)
        : try await backups.verify(against: disk, onProgress: show)
      tool.warn(report.notes)
      if isJSON {
        tool.console.print(json(report).pretty())
      } else {
        report.entries.forEach { tool.console.print(line($0)) }
        if let disk = report.disk { tool.console.print(line(disk)) }
      }
      return report.isSound ? 0 : 2
    }

    private func line(_ entry: VerifyReport.Entry) -> String {
      let head = "Backup \(entry.backup.number): "
      if !entry.problems.isEmpty { return head + entry.problems.joined(separator: "; ") }
      return head + (entry.isProven ? "good" : "readable, but no digest is on record")
    }

    private func line(_ disk: VerifyReport.DiskComparison) -> String {
      if let offset = disk.firstDifference {
        return "The disk differs from the last backup at offset \(offset)"
          + (disk.withoutBitmap.map { " (\($0))" } ?? ", which nothing marks as changed")
      }
      return "The disk is what the last backup shows"
        + (disk.marked > 0 ? ", but for \(ByteSize.describe(disk.marked)) marked as changed" : "")
    }

    private func json(_ report: VerifyReport) -> JSONText {
      var fields: [(String, JSONText)] = [
        ("sound", .bool(report.isSound)),
        (
          "backups",
          .array(
            report.entries.map { entry in
              guard case .object(let fields) = entry.backup.json else { return entry.backup.json }
              return .object(
                fields + [
                  ("proven", .bool(entry.isProven)),
                  ("problems", .array(entry.problems.map { .string($0) })),
                ])
            })
        ),
      ]
      if let disk = report.disk {
        var comparison: [(String, JSONText)] = [("marked-bytes", .number(disk.marked))]
        if let offset = disk.firstDifference {
          comparison.append(("first-difference", .number(offset)))
        }
        if let reason = disk.withoutBitmap { comparison.append(("reason", .string(reason))) }
        fields.append(("disk", .object(comparison)))
      }
      return .object(fields)
    }
  }
}
