/// The commands of qemu-io.
enum IOCommandTable {
  /// A command.
  struct Entry: Sendable {
    let name: String
    let alias: String?
    /// How many words may stand behind its name.
    let counts: ClosedRange<Int>
    /// Whether it works on an open image.
    let needsImage: Bool
    /// Whether it changes it.
    let writes: Bool
    /// Its words, as its line of help has them.
    let arguments: String?
    /// What it does, as its line of help has it.
    let summary: String
    /// What `help COMMAND` tells besides.
    let help: String?
    /// Runs it: the words begin with its name.
    let run: @Sendable (IOSession, [String]) async throws -> Void

    init(
      _ name: String, alias: String? = nil, _ counts: ClosedRange<Int>, needsImage: Bool = true,
      writes: Bool = false, arguments: String? = nil, _ summary: String, help: String? = nil,
      run: @escaping @Sendable (IOSession, [String]) async throws -> Void
    ) {
      self.name = name
      self.alias = alias
      self.counts = counts
      self.needsImage = needsImage
      self.writes = writes
      self.arguments = arguments
      self.summary = summary
      self.help = help
      self.run = run
    }

    /// Its line of help.
    func line(calledAs name: String) -> String {
      name + (arguments.map { " " + $0 } ?? "") + " -- " + summary
    }

    /// The counts as a complaint has them.
    var countText: String {
      let (least, most) = (counts.lowerBound, counts.upperBound)
      if most == .max { return "at least \(least) arguments" }
      return least == most
        ? "\(least) arguments" : "between \(least) and \(most) arguments"
    }
  }

  /// The commands, in the order of their names.
  static let all: [Entry] =
    (transfers + vectors + asynchronous + inspections + openings + breakpoints + others)
    .sorted { $0.name < $1.name }

  static func command(named name: String) -> Entry? {
    all.first { $0.name == name || $0.alias == name }
  }

  private static let transfers: [Entry] = [
    Entry(
      "read", alias: "r", 2...Int.max,
      arguments: "[-abCqv] [-P pattern [-s off] [-l len]] off len",
      "reads a number of bytes at a specified offset", help: IOHelp.read
    ) { try await $0.read($1) },
    Entry(
      "write", alias: "w", 2...Int.max, writes: true,
      arguments: "[-bcCfnquz] [-P pattern | -s source_file] off len",
      "writes a number of bytes at a specified offset", help: IOHelp.write
    ) { try await $0.write($1) },
    Entry(
      "discard", alias: "d", 2...Int.max, writes: true, arguments: "[-Cq] off len",
      "discards a number of bytes at a specified offset", help: IOHelp.discard
    ) { try await $0.discard($1) },
    Entry("flush", alias: "f", 0...0, "flush all in-core file state to disk") { session, _ in
      try await session.flush()
    },
    Entry(
      "truncate", alias: "t", 1...3, writes: true, arguments: "[-m prealloc_mode] off",
      "truncates the current file at the given offset"
    ) { try await $0.truncate($1) },
  ]

  private static let vectors: [Entry] = [
    Entry(
      "readv", 2...Int.max, arguments: "[-Cqv] [-P pattern] off len [len..]",
      "reads a number of bytes at a specified offset", help: IOHelp.readVector
    ) { try await $0.readVector($1) },
    Entry(
      "writev", 2...Int.max, writes: true, arguments: "[-Cfq] [-P pattern] off len [len..]",
      "writes a number of bytes at a specified offset", help: IOHelp.writeVector
    ) { try await $0.writeVector($1) },
  ]

  private static let asynchronous: [Entry] = [
    Entry(
      "aio_read", 2...Int.max, arguments: "[-Ciqv] [-P pattern] off len [len..]",
      "asynchronously reads a number of bytes", help: IOHelp.startRead
    ) { try await $0.startRead($1) },
    Entry(
      "aio_write", 2...Int.max, writes: true,
      arguments: "[-Cfiquz] [-P pattern] off len [len..]",
      "asynchronously writes a number of bytes", help: IOHelp.startWrite
    ) { try await $0.startWrite($1) },
    Entry("aio_flush", 0...0, "completes all outstanding aio requests") { session, _ in
      await session.events.finishAll()
    },
  ]

  private static let inspections: [Entry] = [
    Entry("length", alias: "l", 0...0, "gets the length of the current file") { session, _ in
      try session.length()
    },
    Entry("info", alias: "i", 0...0, "prints information about the current file") { session, _ in
      try await session.info()
    },
    Entry(
      "alloc", alias: "a", 1...2, arguments: "offset [count]",
      "checks if offset is allocated in the file"
    ) { try await $0.alloc($1) },
    Entry("map", 0...0, arguments: "", "prints the allocated areas of a file") { session, _ in
      try await session.map()
    },
  ]

  private static let openings: [Entry] = [
    Entry(
      "open", alias: "o", 1...Int.max, needsImage: false,
      arguments: "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]",
      "open the file specified by path", help: IOHelp.open
    ) { try await $0.open($1) },
    Entry("close", alias: "c", 0...0, "close the current open file") { session, _ in
      await session.close()
    },
    Entry(
      "reopen", 0...Int.max, arguments: "[(-r|-w)] [-c cache] [-o options]",
      "reopens an image with new options", help: IOHelp.reopen
    ) { try await $0.reopen($1) },
  ]

  private static let breakpoints: [Entry] = [
    Entry(
      "break", 2...2, arguments: "event tag",
      "sets a breakpoint on event and tags the stopped request as tag"
    ) { try $0.addBreakpoint($1) },
    Entry("remove_break", 1...1, arguments: "tag", "remove a breakpoint by tag") {
      try await $0.removeBreakpoint($1)
    },
    Entry("resume", 1...1, arguments: "tag", "resumes the request tagged as tag") {
      try await $0.resume($1)
    },
    Entry("wait_break", 1...1, arguments: "tag", "waits for the suspension of a request") {
      try await $0.waitForBreakpoint($1)
    },
  ]

  private static let others: [Entry] = [
    Entry("abort", 0...0, needsImage: false, "simulate a program crash using abort(3)") {
      session, _ in session.console.abort()
    },
    Entry(
      "help", alias: "?", 0...1, needsImage: false, arguments: "[command]",
      "help for one or all commands"
    ) { session, words in try session.help(words) },
    Entry("quit", alias: "q", 0...Int.max, needsImage: false, "exit the program") { session, _ in
      session.hasQuit = true
    },
    Entry(
      "sigraise", 1...1, needsImage: false, arguments: "signal", "raises a signal",
      help: IOHelp.raiseSignal
    ) { try $0.raiseSignal($1) },
    Entry(
      "sleep", 1...1, needsImage: false, "waits for the given value in milliseconds"
    ) { try await $0.sleep($1) },
  ]
}
