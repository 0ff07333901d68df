/// Bytes written as in a hex dump: `514649fb 00000003`, `00*37` for 37 times 00, `'text'` for
/// ASCII, where `_` stands for a space.
func hex(_ dump: String) -> [UInt8] {
  var bytes: [UInt8] = []
  for word in dump.split(whereSeparator: \.isWhitespace) {
    if word.hasPrefix("'") {
      bytes += word.dropFirst().dropLast().replacing("_", with: " ").utf8
      continue
    }
    let parts = word.split(separator: "*")
    let digits = Array(parts[0])
    precondition(digits.count.isMultiple(of: 2), "odd number of hex digits in \(word)")
    let group = stride(from: 0, to: digits.count, by: 2).map { index in
      guard let byte = UInt8(String(digits[index...index + 1]), radix: 16) else {
        preconditionFailure("\(word) is not hexadecimal")
      }
      return byte
    }
    let count = parts.count > 1 ? Int(parts[1]) : 1
    guard let count else { preconditionFailure("\(word) has no count") }
    for _ in 0..<count { bytes += group }
  }
  return bytes
}

/// `byteCount` zeros with hex dumps laid over them.
func image(_ byteCount: Int, _ parts: [Int: String]) -> [UInt8] {
  var bytes = [UInt8](repeating: 0, count: byteCount)
  for (offset, dump) in parts { bytes.replace(at: offset, with: hex(dump)) }
  return bytes
}

extension [UInt8] {
  /// Writes `bytes` at `offset`.
  mutating func replace(at offset: Int, with bytes: [UInt8]) {
    replaceSubrange(offset..<offset + bytes.count, with: bytes)
  }

  /// The same bytes with a hex dump at `offset`.
  func patched(_ offset: Int, _ dump: String) -> [UInt8] {
    var copy = self
    copy.replace(at: offset, with: hex(dump))
    return copy
  }
}

/// SplitMix64: the tests' source of numbers, the same for the same seed.
struct SeededNumbers: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}
