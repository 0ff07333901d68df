internal import BlockLayer
internal import Execution
internal import Primitives

/// A request of qemu-io: what is asked of the disk, and how its outcome is told.
struct IORequest: Sendable {
  enum Kind: Sendable {
    /// A read; what is expected of the bytes, and whether they are shown.
    case read(IOExpectation?, isShown: Bool)
    case write(IOContent, isDurable: Bool, isCompressed: Bool)
    case discard
  }

  let kind: Kind
  let offset: Int
  let count: Int
  /// Its name in the verdict on a failure.
  let name: String
  /// Whether success is not told.
  let isQuiet: Bool
  /// Whether it is told as one line of numbers.
  let isTerse: Bool

  init(_ kind: Kind, _ offset: Int, _ count: Int, name: String, _ parsed: IOArguments) {
    self.kind = kind
    self.offset = offset
    self.count = count
    self.name = name
    isQuiet = parsed.has("q")
    isTerse = parsed.has("C")
  }

  private var verb: String {
    switch kind {
    case .read: "read"
    case .write: "wrote"
    case .discard: "discard"
    }
  }

  /// Makes the request.
  func perform(on image: IOImage) async -> IOOutcome {
    let start = image.world.now
    var data: [UInt8]?
    var failure: BlockError?
    do throws(BlockError) {
      let range = try image.range(offset, count)
      switch kind {
      case .read: data = try await image.read(range)
      case .write(let content, let isDurable, let isCompressed):
        try await image.write(
          content, to: range, isDurable: isDurable, isCompressed: isCompressed)
      case .discard: try await image.disk.discard(range)
      }
    } catch {
      failure = error
    }
    let nanoseconds = image.world.now.nanoseconds - start.nanoseconds
    return IOOutcome(request: self, nanoseconds: nanoseconds, data: data, failure: failure)
  }

  fileprivate func report(_ nanoseconds: UInt64) -> String {
    IOReport(
      verb: verb, offset: offset, count: count, nanoseconds: nanoseconds, isTerse: isTerse
    ).text
  }
}

/// What became of a request.
struct IOOutcome: Sendable {
  let request: IORequest
  let nanoseconds: UInt64
  let data: [UInt8]?
  let failure: BlockError?

  /// What was expected and not found.
  private var mismatch: IOExpectation? {
    guard case .read(let expectation?, _) = request.kind, let data else { return nil }
    return expectation.isMet(by: data.span.bytes) ? nil : expectation
  }

  /// Tells it; answers whether all is well.
  func tell(_ console: Console, _ tool: String) -> Bool {
    if let failure {
      if failure.needsExplanation { console.complain("\(tool): \(failure.message)") }
      console.print("\(request.name) failed: \(failure.asHostSays)")
      return false
    }
    let mismatch = mismatch
    if let mismatch {
      console.print(
        "Pattern verification failed at offset \(request.offset + mismatch.start), "
          + "\(mismatch.count) bytes")
    }
    if request.isQuiet { return mismatch == nil }
    if case .read(_, isShown: true) = request.kind, let data {
      IOReport.dump(data.span.bytes, at: request.offset) { console.write($0) }
    }
    console.write(request.report(nanoseconds))
    return mismatch == nil
  }
}

/// The byte that a part of what is read must consist of.
struct IOExpectation: Sendable {
  let pattern: UInt8
  /// The part, in the bytes that are read.
  let start: Int
  let count: Int

  func isMet(by bytes: RawSpan) -> Bool {
    guard count > 0 else { return true }
    let part = bytes.slice(ByteRange(offset: start, count: count))
    if pattern == 0 { return part.isZero }
    // All are equal to the one before them, and the first is right.
    return part.slice(ByteRange(0, 1)).toArray() == [pattern]
      && part.slice(ByteRange(0, count - 1)).elementsEqual(part.slice(ByteRange(1, count)))
  }
}

/// What a write writes.
enum IOContent: Sendable {
  case pattern(UInt8)
  /// Bytes that are repeated for as long as it takes.
  case bytes([UInt8])
  case zeros(mayUnmap: Bool, mayFallBack: Bool)

  /// The first `count` bytes of a file, or all that it has.
  static func file(_ name: String, _ count: Int) async throws(IOFailure) -> IOContent {
    var options = OpenOptions(format: "file", readOnly: true)
    options.locking = .off
    let content: [UInt8]
    do throws(BlockError) {
      let file = try FileDriver.open(name, options)
      let range = ByteRange(0, min(file.exactLength, count))
      var buffer = IOBuffer(byteCount: range.count)
      var bytes = buffer.mutableBytes
      try await file.read(range, into: &bytes)
      try await file.close()
      content = bytes.bytes.toArray()
    } catch {
      throw .complained("\(name): \(error.errno)")
    }
    guard !content.isEmpty else { throw .complained("\(name): file is empty") }
    return .bytes(content)
  }

  /// The bytes of a write of that length.
  func buffer(_ count: Int) -> IOBuffer {
    var buffer = IOBuffer(byteCount: count)
    var bytes = buffer.mutableBytes
    switch self {
    case .pattern(let byte): bytes.fill(with: byte)
    case .zeros: bytes.fill(with: 0)
    case .bytes(let source):
      var done = 0
      while done < count {
        let part = min(source.count, count - done)
        bytes.copy(from: source.span.bytes.slice(ByteRange(0, part)), at: done)
        done += part
      }
    }
    return buffer
  }
}
