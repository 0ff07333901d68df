internal import BlockLayer
internal import Primitives

/// `read`, `write`, `discard`, `flush` and `truncate`.
extension IOSession {
  /// The longest request: the most that fits in 31 bits, in whole sectors.
  static let longestRequest = 2_147_483_136

  func read(_ words: [String]) async throws {
    var start: Int?
    var most: Int?
    var pattern: UInt8?
    let parsed = try IOArguments(words, "bCl:pP:qs:v", self) { letter, value in
      switch letter {
      case "l": most = try numbers.size(value)
      case "s": start = try numbers.size(value)
      case "P": pattern = try IONumber.pattern(value)
      default: break
      }
    }
    guard pattern != nil || start == nil && most == nil else { throw IOFailure.usage }
    let (offset, count) = try range(parsed)
    guard count <= Self.longestRequest else { throw tooLong(parsed) }
    let first = start ?? 0
    guard first <= count, most ?? 0 <= count - first else {
      throw IOFailure.said("pattern verification range exceeds end of read data")
    }
    if parsed.has("b") {
      try checkSectors(offset, count)
      throw IOFailure.request("read", .noState)
    }
    let expectation = pattern.map {
      IOExpectation(pattern: $0, start: first, count: most ?? count - first)
    }
    try await perform(
      IORequest(
        .read(expectation, isShown: parsed.has("v")), offset, count, name: "read", parsed))
  }

  func write(_ words: [String]) async throws {
    var pattern: UInt8 = 0xcd
    let parsed = try IOArguments(words, "bcCfnpP:qs:uz", self) { letter, value in
      if letter == "P" { pattern = try IONumber.pattern(value) }
    }
    guard parsed.operands.count == 2 else { throw IOFailure.usage }
    try checkOptions(parsed)
    let (offset, count) = try range(parsed)
    guard count <= Self.longestRequest || parsed.has("n") else {
      throw IOFailure.said(
        "length cannot exceed \(Self.longestRequest) without -n, given \(parsed.operands[1])")
    }
    if parsed.has("b") || parsed.has("c") { try checkSectors(offset, count) }
    let content: IOContent
    if parsed.has("z") {
      content = .zeros(mayUnmap: parsed.has("u"), mayFallBack: !parsed.has("n"))
    } else if let name = parsed.value("s") {
      content = try await .file(name, count)
    } else {
      content = .pattern(pattern)
    }
    if parsed.has("b") { throw IOFailure.request("write", .noState) }
    let kind = IORequest.Kind.write(
      content, isDurable: parsed.has("f"), isCompressed: parsed.has("c"))
    try await perform(IORequest(kind, offset, count, name: "write", parsed))
  }

  /// Looks at the options of a write, in qemu-io's order.
  private func checkOptions(_ parsed: IOArguments) throws(IOFailure) {
    if parsed.has("b"), parsed.has("z") {
      throw .said("-b and -z cannot be specified at the same time")
    }
    if parsed.has("f"), parsed.has("b") || parsed.has("c") {
      throw .said("-f and -b or -c cannot be specified at the same time")
    }
    for letter in ["n", "u"] as [Character] where parsed.has(letter) && !parsed.has("z") {
      throw .said("-\(letter) requires -z to be specified")
    }
    guard (["z", "P", "s"] as [Character]).filter({ parsed.has($0) }).count <= 1 else {
      throw .said("Only one of -z, -P, and -s can be specified at the same time")
    }
  }

  private func checkSectors(_ offset: Int, _ count: Int) throws(IOFailure) {
    for (value, name) in [(offset, "offset"), (count, "count")] where value % 512 != 0 {
      throw .said("\(value) is not a sector-aligned value for '\(name)'")
    }
  }

  func discard(_ words: [String]) async throws {
    let parsed = try IOArguments(words, "Cq", self)
    let (offset, count) = try range(parsed)
    guard count <= Self.longestRequest else { throw tooLong(parsed) }
    try await perform(IORequest(.discard, offset, count, name: "discard", parsed))
  }

  func flush() async throws {
    let image = try openImage()
    do {
      try await events.waiting { try await image.disk.flush() }
    } catch let error as BlockError {
      // qemu-io says nothing.
      if error.needsExplanation { throw IOFailure.reported(error.message) }
      throw IOFailure.silent
    }
  }

  func truncate(_ words: [String]) async throws {
    var mode = Preallocation.off
    let parsed = try IOArguments(words, "m:", self) { letter, value in
      guard let known = Preallocation(rawValue: value) else {
        throw IOFailure.reported("Invalid preallocation mode '\(value)'")
      }
      mode = known
    }
    guard let text = parsed.operands.first else { throw IOFailure.usage }
    let length = try numbers.size(text)
    let image = try openImage()
    try await events.waiting { try await image.resize(to: length, mode) }
  }

  // MARK: - Requests

  /// The offset and the length that two operands are.
  func range(_ parsed: IOArguments) throws(IOFailure) -> (offset: Int, count: Int) {
    guard parsed.operands.count == 2 else { throw .usage }
    return (try numbers.size(parsed.operands[0]), try numbers.size(parsed.operands[1]))
  }

  private func tooLong(_ parsed: IOArguments) -> IOFailure {
    .said("length cannot exceed \(Self.longestRequest), given \(parsed.operands[1])")
  }

  /// Makes a request and tells its outcome.
  func perform(_ request: IORequest) async throws {
    let image = try openImage()
    let outcome = await events.waiting { await request.perform(on: image) }
    guard outcome.tell(console, tool.name) else { throw IOFailure.silent }
  }
}

extension BlockError {
  /// The state of a machine is neither written nor read.
  fileprivate static let noState = BlockError(
    .unsupported, "the state of a machine is neither written nor read")
}
