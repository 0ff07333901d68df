internal import BlockLayer
internal import Execution
internal import Lamina
internal import Primitives

/// The commands of `lamina io`, with qemu-io's words and verdicts.
struct IOInterpreter {
  let console: Console
  let disk: BlockBackend
  private(set) var hasFailed = false
  private(set) var hasQuit = false

  init(console: Console, disk: BlockBackend) {
    self.console = console
    self.disk = disk
  }

  static let help = """
    read  [-P PATTERN] [-qv] OFFSET COUNT    read; compare with a pattern
    write [-P PATTERN | -z [-u] | -s FILE] [-fq] OFFSET COUNT    write a pattern, zeros or a file
    discard [-q] OFFSET COUNT    give up
    flush    make everything durable
    length    print the size
    truncate SIZE    grow the disk
    alloc OFFSET [COUNT]    count allocated bytes
    map    print allocated runs
    sleep MILLISECONDS, quit, help
    """

  /// Runs one command line; a failure is printed and remembered.
  mutating func run(_ line: String) async {
    let words = IOInterpreter.split(line)
    guard let command = words.first else { return }
    let arguments = Array(words.dropFirst())
    do {
      switch command {
      case "read", "r": try await read(arguments)
      case "write", "w": try await write(arguments)
      case "discard", "d": try await discard(arguments)
      case "flush", "f": try await disk.flush()
      case "length", "l": console.print(sizeText(disk.length))
      case "truncate", "t": try await truncate(arguments)
      case "alloc": try await alloc(arguments)
      case "map": try await map()
      case "sleep": try await sleep(arguments)
      case "quit", "q": hasQuit = true
      case "help", "?": console.print(IOInterpreter.help)
      default:
        console.print("command \"\(command)\" not found")
        hasFailed = true
      }
    } catch let failure as ToolFailure {
      console.print(failure.message)
      hasFailed = true
    } catch let error as BlockError {
      // What the host refused is told as qemu-io tells it; an errno of ours would hide the reason.
      let isHosts = [.io, .noSpace, .readOnly].contains(error.code)
      console.print("\(verb(command)) failed: \(isHosts ? "\(error.errno)" : error.message)")
      hasFailed = true
    } catch {
      console.print("\(verb(command)) failed: \(error)")
      hasFailed = true
    }
  }

  private func verb(_ command: String) -> String {
    ["r": "read", "w": "write", "d": "discard", "f": "flush", "t": "truncate"][command] ?? command
  }

  // MARK: - Commands

  private static let transfer = OptionParser("C P:pattern= f q v z u n p b c s:source= l:start=")

  private mutating func read(_ words: [String]) async throws {
    let request = try Request(IOInterpreter.transfer.parse(words), "read")
    let pattern = try request.pattern()
    var buffer = IOBuffer(byteCount: request.range.count)
    var bytes = buffer.mutableBytes
    let start = World.current?.now
    try await disk.read(request.range, into: &bytes)
    if let pattern {
      var expected = IOBuffer(byteCount: request.range.count)
      var other = expected.mutableBytes
      other.fill(with: pattern)
      if bytes.bytes.firstDifference(from: other.bytes) != nil {
        console.print(
          "Pattern verification failed at offset \(request.range.lower), "
            + "\(request.range.count) bytes")
        hasFailed = true
      }
    }
    if request.options.has("v") { dump(bytes.bytes, at: request.range.lower) }
    report("read", request, start)
  }

  private mutating func write(_ words: [String]) async throws {
    let parsed = try IOInterpreter.transfer.parse(words)
    let request = try Request(parsed, "write")
    let kinds = ["pattern", "z", "source"].filter { parsed.has($0) }
    guard kinds.count <= 1 else {
      throw ToolFailure(message: "Only one of -z, -P, and -s can be specified at the same time")
    }
    if parsed.has("c"), parsed.has("f") {
      throw ToolFailure(message: "-f and -b or -c cannot be specified at the same time")
    }
    if parsed.has("u"), !parsed.has("z") {
      throw ToolFailure(message: "-u requires -z to be specified")
    }
    let start = World.current?.now
    if parsed.has("z") {
      try await disk.writeZeroes(request.range, mayUnmap: parsed.has("u"))
    } else {
      var buffer = IOBuffer(byteCount: request.range.count)
      var bytes = buffer.mutableBytes
      if let source = parsed.value("source") {
        try await fill(&bytes, from: source, at: parsed.value("start"))
      } else {
        bytes.fill(with: try request.pattern() ?? 0xcd)
      }
      if parsed.has("c") {
        try await disk.writeCompressed(request.range, from: bytes.bytes)
      } else {
        try await disk.write(request.range, from: bytes.bytes)
      }
    }
    if parsed.has("f") { try await disk.flush() }
    report("wrote", request, start)
  }

  /// Fills a buffer with a file's contents, repeated.
  private func fill(
    _ bytes: inout MutableRawSpan, from path: String, at start: String?
  ) async throws {
    var options = OpenOptions(format: "raw", readOnly: true)
    options.locking = .off
    let file: FileDriver
    do throws(BlockError) {
      file = try FileDriver.open(path, options)
    } catch {
      throw ToolFailure(message: "\(path): \(error.errno)")
    }
    let offset = start.flatMap(ByteSize.parse) ?? 0
    let count = min(bytes.byteCount, file.exactLength - offset)
    guard count > 0 else { throw ToolFailure(message: "\(path): file is empty") }
    var head = bytes.slice(ByteRange(0, count))
    try await file.read(ByteRange(offset: offset, count: count), into: &head)
    try await file.close()
    let pattern = bytes.bytes.slice(ByteRange(0, count)).toArray()
    var done = count
    while done < bytes.byteCount {
      let next = min(count, bytes.byteCount - done)
      bytes.copy(from: pattern.span.bytes.slice(ByteRange(0, next)), at: done)
      done += next
    }
  }

  private mutating func discard(_ words: [String]) async throws {
    let request = try Request(OptionParser("C q").parse(words), "discard")
    let start = World.current?.now
    try await disk.discard(request.range)
    report("discard", request, start)
  }

  private func truncate(_ words: [String]) async throws {
    guard let text = words.last, let size = ByteSize.parse(text) else {
      throw ToolFailure(message: "truncate: a size is needed")
    }
    try await disk.resize(to: size, mayShrink: true)
  }

  private func alloc(_ words: [String]) async throws {
    guard let first = words.first, let offset = ByteSize.parse(first) else {
      throw ToolFailure(
        message: "bad argument count \(words.count) to alloc, expected between 1 and 2 arguments")
    }
    let count = words.count > 1 ? ByteSize.parse(words[1]) ?? 512 : 512
    guard let range = ByteRange(checkedOffset: offset, count: count), range.upper <= disk.length
    else {
      throw ToolFailure(message: "is_allocated failed: Input/output error")
    }
    var rest = range
    var allocated = 0
    while !rest.isEmpty {
      let status = try await disk.node.driver.status(rest)
      let run = rest.prefix(status.count)
      if status.isAllocated { allocated += run.count }
      rest = rest.dropFirst(run.count)
    }
    console.print(
      "\(allocated)/\(count) bytes allocated at offset \(sizeText(offset))")
  }

  private func map() async throws {
    var rest = ByteRange(0, disk.length)
    while !rest.isEmpty {
      var status = try await disk.node.driver.status(rest)
      while status.count < rest.count {
        let next = try await disk.node.driver.status(rest.dropFirst(status.count))
        guard next.isAllocated == status.isAllocated else { break }
        status.count += next.count
      }
      let run = rest.prefix(status.count)
      console.print(
        "\(sizeText(run.count)) (0x\(String(run.count, radix: 16))) bytes "
          + (status.isAllocated ? "    allocated" : "not allocated")
          + " at offset \(sizeText(run.lower)) (0x\(String(run.lower, radix: 16)))")
      rest = rest.dropFirst(run.count)
    }
  }

  private func sleep(_ words: [String]) async throws {
    guard let text = words.first, let milliseconds = UInt64(text) else {
      throw ToolFailure(message: "sleep: milliseconds are needed")
    }
    _ = await World.current?.sleep(nanoseconds: milliseconds &* 1_000_000)
  }

  // MARK: - Words and verdicts

  private func report(_ what: String, _ request: Request, _ start: WorldInstant?) {
    if request.options.has("q") { return }
    let count = request.range.count
    console.print("\(what) \(count)/\(count) bytes at offset \(request.range.lower)")
    let end = World.current?.now
    let nanoseconds =
      start.flatMap { start in end.map { $0.nanoseconds &- start.nanoseconds } } ?? 0
    let seconds = max(Double(nanoseconds) / 1e9, 1e-9)
    let hundredths = Int(seconds * 100)
    let time =
      "\(hundredths / 100 < 10 ? "0" : "")\(hundredths / 100)."
      + "\(hundredths % 100 < 10 ? "0" : "")\(hundredths % 100)"
    console.print(
      "\(sizeText(count)), 1 ops; \(time) sec "
        + "(\(sizeText(Int(min(Double(count) / seconds, 1e18))))/sec and "
        + "\(Int(1 / seconds)).0000 ops/sec)")
  }

  private func sizeText(_ count: Int) -> String {
    count < 1024 ? "\(count) bytes" : ByteSize.describe(count)
  }

  private func dump(_ bytes: RawSpan, at offset: Int) {
    func hex(_ value: Int, _ width: Int) -> String {
      let text = String(value, radix: 16)
      return String(repeating: "0", count: max(0, width - text.count)) + text
    }
    var position = 0
    while position < bytes.byteCount {
      let count = min(16, bytes.byteCount - position)
      let row = bytes.slice(ByteRange(offset: position, count: count)).toArray()
      let numbers = row.map { hex(Int($0), 2) + " " }.joined()
      let padding = String(repeating: "   ", count: 16 - count)
      let text = row.map { (0x20..<0x7f).contains($0) ? String(UnicodeScalar($0)) : "." }.joined()
      console.print("\(hex(offset + position, 8)):  \(numbers)\(padding) \(text)")
      position += count
    }
  }

  /// The words of a line; quotes keep spaces.
  static func split(_ line: String) -> [String] {
    var words: [String] = []
    var word = ""
    var quote: Character?
    for character in line {
      if let open = quote {
        if character == open { quote = nil } else { word.append(character) }
      } else if character == "\"" || character == "'" {
        quote = character
      } else if character.isWhitespace {
        if !word.isEmpty { words.append(word) }
        word = ""
      } else {
        word.append(character)
      }
    }
    if !word.isEmpty { words.append(word) }
    return words
  }

  /// The range and the options of a transfer.
  struct Request {
    let options: OptionParser.Result
    let range: ByteRange

    init(_ parsed: OptionParser.Result, _ verb: String) throws(ToolFailure) {
      options = parsed
      guard parsed.operands.count == 2 else {
        throw ToolFailure(
          message: "bad argument count \(parsed.operands.count) to \(verb), expected 2 arguments")
      }
      guard let offset = ByteSize.parse(parsed.operands[0]) else {
        throw ToolFailure(message: "non-numeric offset argument -- \(parsed.operands[0])")
      }
      guard let count = ByteSize.parse(parsed.operands[1]) else {
        throw ToolFailure(message: "non-numeric length argument -- \(parsed.operands[1])")
      }
      guard count <= 2_147_483_136 else {
        throw ToolFailure(
          message: "length cannot exceed 2147483136, given \(parsed.operands[1])")
      }
      guard let range = ByteRange(checkedOffset: offset, count: count) else {
        throw ToolFailure(message: "\(verb) failed: Input/output error")
      }
      self.range = range
    }

    func pattern() throws(ToolFailure) -> UInt8? {
      guard let text = options.value("pattern") else { return nil }
      guard let value = ByteSize.parse(text), value <= 255 else {
        throw ToolFailure(message: "\(text) is not a valid pattern byte")
      }
      return UInt8(value)
    }
  }
}
