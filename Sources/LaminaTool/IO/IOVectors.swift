internal import BlockLayer

/// `readv`, `writev`: one request with several buffers, whose lengths are added up.
extension IOSession {
  func readVector(_ words: [String]) async throws {
    try await perform(readRequest(words, "CP:qv"))
  }

  func writeVector(_ words: [String]) async throws {
    var pattern: UInt8 = 0xcd
    let parsed = try IOArguments(words, "CfP:q", self) { letter, value in
      if letter == "P" { pattern = try IONumber.pattern(value) }
    }
    let (offset, count) = try vector(parsed)
    let kind = IORequest.Kind.write(
      .pattern(pattern), isDurable: parsed.has("f"), isCompressed: false)
    try await perform(IORequest(kind, offset, count, name: "writev", parsed))
  }

  /// The offset and the length that an offset and lengths are.
  func vector(_ parsed: IOArguments) throws(IOFailure) -> (offset: Int, count: Int) {
    guard parsed.operands.count >= 2 else { throw .usage }
    let offset = try numbers.size(parsed.operands[0])
    var count = 0
    for text in parsed.operands.dropFirst() {
      let length = try numbers.size(text)
      guard length <= Self.longestRequest else {
        throw .said("Argument '\(text)' exceeds maximum size \(Self.longestRequest)")
      }
      guard length <= Self.longestRequest - count else {
        throw .said(
          "The total number of bytes exceed the maximum size \(Self.longestRequest)")
      }
      count += length
    }
    return (offset, count)
  }
}
