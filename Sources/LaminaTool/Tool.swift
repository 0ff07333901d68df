internal import Execution
internal import Lamina

/// The words that `lamina` knows, and what becomes of their errors.
struct Tool: Sendable {
  let console: Console
  /// The name it is called by.
  let name = "lamina"

  /// A command: its words after the first, to an exit status.
  typealias Command = @Sendable (Tool, [String]) async throws -> Int32

  static let commands: [(name: String, summary: String, run: Command)] = [
    ("create", "make an image", CreateCommand.run),
    ("info", "tell what an image is", InfoCommand.run),
    ("check", "look for leaks and corruptions", CheckCommand.run),
    ("compare", "compare the contents of two images", CompareCommand.run),
    ("measure", "tell how large an image would become", MeasureCommand.run),
    ("map", "tell where an image's bytes are", MapCommand.run),
    ("resize", "change the size of a disk", ResizeCommand.run),
    ("amend", "change the properties of an image", AmendCommand.run),
    ("convert", "copy images to another, of any format", ConvertCommand.run),
    ("commit", "bring what an overlay has into its backing file", CommitCommand.run),
    ("snapshot", "list, create, apply and delete internal snapshots", SnapshotCommand.run),
    ("rebase", "change the backing file that an image names", RebaseCommand.run),
    ("io", "read and write an image", IOCommand.run),
    (
      "bitmap", "list and draw an image's dirty bitmaps",
      { try await $0.perform(BitmapCommand.self, $1) }
    ),
    ("backup", "full and incremental backups", { try await $0.perform(BackupCommand.self, $1) }),
  ]

  /// Runs the command that `words` name, in a World of its own.
  func run(_ words: [String]) -> Int32 {
    guard let first = words.first else {
      console.complain("\(name): Not enough arguments")
      console.complain("Try '\(name) --help' for more information")
      return 1
    }
    if ["--help", "-h", "help"].contains(first) {
      printHelp()
      return 0
    }
    if ["--version", "-V"].contains(first) {
      console.print("lamina version \(Tool.version)")
      return 0
    }
    guard let command = Tool.commands.first(where: { $0.name == first }) else {
      console.complain("\(name): Command not found: \(first)")
      console.complain("Try '\(name) --help' for more information")
      return 1
    }
    let world = World.threaded()
    return world.runBlocking { await execute(command.run, Array(words.dropFirst())) }
  }

  /// The version of the tool.
  static let version = "0.1.0"

  private func execute(_ command: Command, _ words: [String]) async -> Int32 {
    do {
      return try await command(self, words)
    } catch let failure as ToolFailure {
      console.complain("\(name): \(failure.message)")
      if failure.hintsAtHelp { console.complain("Try '\(name) --help' for more information") }
      return failure.status
    } catch let error as BlockError {
      console.complain("\(name): \(error.message)")
    } catch {
      console.complain("\(name): \(error)")
    }
    return 1
  }

  private func printHelp() {
    console.print("usage: \(name) COMMAND [OPTIONS] …")
    console.print("")
    for command in Tool.commands {
      let padding = String(repeating: " ", count: max(1, 10 - command.name.count))
      console.print("  \(command.name)\(padding)\(command.summary)")
    }
    console.print("")
    console.print("create … io take qemu-img's and qemu-io's options; see README.md for examples.")
  }
}
