/// Choices and numbers out of the fuzzer's bytes; zeros behind their end.
struct InputReader {
  private let bytes: [UInt8]
  private var position = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  var isAtEnd: Bool { position >= bytes.count }

  mutating func byte() -> UInt8 {
    guard !isAtEnd else { return 0 }
    defer { position += 1 }
    return bytes[position]
  }

  /// The next bytes as a big-endian number.
  mutating func number(_ byteCount: Int) -> UInt64 {
    var value: UInt64 = 0
    for _ in 0..<byteCount { value = value << 8 | UInt64(byte()) }
    return value
  }

  /// A number below `bound`.
  mutating func index(below bound: Int) -> Int {
    bound <= 256 ? Int(byte()) % bound : Int(number(2)) % bound
  }
}
