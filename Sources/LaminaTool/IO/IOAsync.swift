internal import BlockLayer
internal import Execution

/// `aio_read` and `aio_write`: requests that go on while later commands run.
extension IOSession {
  func startRead(_ words: [String]) async throws {
    await start(try readRequest(words, "CP:iqv"))
  }

  func startWrite(_ words: [String]) async throws {
    var pattern: UInt8 = 0xcd
    let parsed = try IOArguments(words, "CfiP:quz", self) { letter, value in
      if letter == "P" { pattern = try IONumber.pattern(value) }
      if letter == "i" { throw IONote(text: "injecting invalid write request") }
    }
    guard parsed.operands.count >= 2 else { throw IOFailure.usage }
    let isZeroes = parsed.has("z")
    if isZeroes, parsed.operands.count > 2 {
      throw IOFailure.said("-z supports only a single length parameter")
    }
    if parsed.has("u"), !isZeroes { throw IOFailure.said("-u requires -z to be specified") }
    // The length of zeros has no limit.
    let (offset, count) = isZeroes ? try range(parsed) : try vector(parsed)
    let content =
      isZeroes
      ? IOContent.zeros(mayUnmap: parsed.has("u"), mayFallBack: true) : .pattern(pattern)
    let kind = IORequest.Kind.write(content, isDurable: parsed.has("f"), isCompressed: false)
    await start(IORequest(kind, offset, count, name: "aio_write", parsed))
  }

  /// The read of several buffers that a command describes.
  func readRequest(_ words: [String], _ letters: String) throws -> IORequest {
    var pattern: UInt8?
    let parsed = try IOArguments(words, letters, self) { letter, value in
      if letter == "P" { pattern = try IONumber.pattern(value) }
      if letter == "i" { throw IONote(text: "injecting invalid read request") }
    }
    let (offset, count) = try vector(parsed)
    let expectation = pattern.map { IOExpectation(pattern: $0, start: 0, count: count) }
    let kind = IORequest.Kind.read(expectation, isShown: parsed.has("v"))
    return IORequest(kind, offset, count, name: "readv", parsed)
  }

  /// Begins a request; what becomes of it is told when the commands wait for something.
  private func start(_ request: IORequest) async {
    guard let image else { return }
    let events = events
    let name = tool.name
    await settled {
      events.begin()
      world.spawn {
        let outcome = await request.perform(on: image)
        events.end { _ = outcome.tell($0, name) }
      }
    }
  }

  /// Does something that lets a request run, and gives it the time to come to its breakpoint.
  ///
  /// In qemu-io it gets there before the next command, unless it has to wait for the host.
  func settled(_ body: () throws -> Void) async rethrows {
    let before = events.changes
    let mayStop = image?.breakpoints?.hasBreakpoints ?? false
    try body()
    guard mayStop else { return }
    for _ in 0..<50 where events.changes == before {
      _ = await world.sleep(nanoseconds: 1_000_000)
    }
  }
}

/// A command that ended early and did not fail: what it says.
struct IONote: Error {
  let text: String
}
