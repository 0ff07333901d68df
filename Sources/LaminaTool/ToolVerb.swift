internal import ArgumentParser
internal import BackupJob
internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// One of our own verbs: parsed by ArgumentParser, performed in the tool's World.
protocol ToolVerb: ParsableCommand {
  func perform(_ tool: Tool) async throws -> Int32
}

extension Tool {
  /// Runs the verb of `root` that `words` name.
  func perform(_ root: any ParsableCommand.Type, _ words: [String]) async throws -> Int32 {
    let command: any ParsableCommand
    do {
      command = try root.parseAsRoot(words)
    } catch {
      let isHelp = root.exitCode(for: error) == .success
      let text = root.fullMessage(for: error)
      if isHelp { console.print(text) } else { console.complain(text) }
      return isHelp ? 0 : 1
    }
    guard let verb = command as? any ToolVerb else {
      console.print(root.helpMessage())
      return words.isEmpty ? 1 : 0
    }
    return try await verb.perform(self)
  }

  /// Shows a job's progress, and answers false once the user has pressed Ctrl-C.
  func watcher() -> @Sendable (JobProgress) -> Bool {
    Interrupt.watch()
    let shown = Mutex<(line: ProgressLine, total: Int)?>(nil)
    return { progress in
      let line = shown.withLock { shown -> ProgressLine? in
        guard progress.total > 0 else { return nil }
        // Another total is another piece of work.
        if let last = shown, last.total == progress.total { return last.line }
        shown?.line.finish()
        let line = ProgressLine(console, total: progress.total, asQemu: false, isQuiet: false)
        shown = (line, progress.total)
        return line
      }
      line?.update(progress.current)
      if progress.isCompleted || Interrupt.happened { line?.finish() }
      return !Interrupt.happened
    }
  }
}

/// Ctrl-C: noted by a signal handler, looked at by those who can stop cleanly.
enum Interrupt {
  /// The signal; 0: none.
  private static let signalNumber = Atomic<Int32>(0)

  static var happened: Bool { signalNumber.load(ordering: .relaxed) != 0 }

  /// Why a command ended that was interrupted; shells expect that exit status.
  static var failure: ToolFailure {
    ToolFailure(message: "interrupted", status: 128 + signalNumber.load(ordering: .relaxed))
  }

  /// From now on SIGINT and SIGTERM are noted instead of ending the process.
  ///
  /// A second one ends it.
  static func watch() {
    for number in [SIGINT, SIGTERM] {
      signal(number) { number in
        if Interrupt.signalNumber.exchange(number, ordering: .relaxed) != 0 {
          _exit(128 + number)
        }
      }
    }
  }
}
