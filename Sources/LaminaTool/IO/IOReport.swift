internal import Execution
internal import Primitives

/// What qemu-io says of a request that is done: which bytes, how long, how fast.
struct IOReport {
  /// `read`, `wrote`, `discard`.
  let verb: String
  let offset: Int
  let count: Int
  let nanoseconds: UInt64
  /// One line of numbers in the place of two of words (`-C`).
  let isTerse: Bool

  var text: String {
    // A request that takes no time at all still has a rate.
    let seconds = max(Double(nanoseconds), 1) / 1e9
    let bytesPerSecond = Double(count) / seconds
    if isTerse {
      return "\(count),1,\(time(full: true)),\(Self.fixed(bytesPerSecond, 3)),"
        + "\(Self.fixed(1 / seconds, 3))\n"
    }
    return "\(verb) \(count)/\(count) bytes at offset \(offset)\n"
      + "\(Self.size(Double(count))), 1 ops; \(time(full: false)) "
      + "(\(Self.size(bytesPerSecond))/sec and \(Self.fixed(1 / seconds, 4)) ops/sec)\n"
  }

  private func time(full: Bool) -> String {
    let hundredths = nanoseconds / 10_000_000
    func two(_ value: UInt64) -> String { (value < 10 ? "0" : "") + String(value) }
    let minutes = hundredths / 6000
    let rest = "\(two(hundredths / 100 % 60)).\(two(hundredths % 100))"
    guard full || minutes > 0 else { return rest + " sec" }
    return "\(minutes / 60):\(two(minutes % 60)):\(rest)"
  }

  /// A size as qemu-io prints it: `512 bytes`, `1 KiB`, `1.500 MiB`.
  static func size(_ count: Int) -> String { size(Double(count)) }

  static func size(_ bytes: Double) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    guard bytes >= 1024 else { return "\(trimmed(fixed(bytes, 6))) bytes" }
    var value = bytes / 1024
    var unit = 0
    while value >= 1024, unit < units.count - 1 {
      value /= 1024
      unit += 1
    }
    return "\(trimmed(fixed(value, 3))) \(units[unit])"
  }

  /// A number without a fraction that is all zeros.
  private static func trimmed(_ number: String) -> String {
    guard let point = number.firstIndex(of: "."),
      number[point...].dropFirst().allSatisfy({ $0 == "0" })
    else { return number }
    return String(number[..<point])
  }

  /// C's `%.Nf` for what is not negative.
  private static func fixed(_ value: Double, _ decimals: Int) -> String {
    var scale = 1.0
    for _ in 0..<decimals { scale *= 10 }
    let scaled = (value * scale).rounded(.toNearestOrEven)
    guard scaled < 1e18 else { return "\(UInt64(min(value, 1.8e19)))." + zeros(decimals) }
    let number = UInt64(scaled)
    let fraction = String(number % UInt64(scale))
    return "\(number / UInt64(scale))." + zeros(decimals - fraction.count) + fraction
  }

  private static func zeros(_ count: Int) -> String { String(repeating: "0", count: count) }

  /// Bytes as rows of sixteen: where, in hexadecimal, and those that are letters or digits.
  static func dump(_ bytes: RawSpan, at offset: Int, to print: (String) -> Void) {
    func hex(_ value: Int, _ width: Int) -> String {
      let text = String(value, radix: 16)
      return zeros(max(0, width - text.count)) + text
    }
    var position = 0
    while position < bytes.byteCount {
      let count = min(16, bytes.byteCount - position)
      let row = bytes.slice(ByteRange(offset: position, count: count)).toArray()
      let numbers = row.map { hex(Int($0), 2) + " " }.joined()
      let letters = row.map { byte in
        let character = Character(UnicodeScalar(byte))
        return byte < 0x80 && (character.isLetter || character.isNumber) ? String(character) : "."
      }
      print("\(hex(offset + position, 8)):  \(numbers) \(letters.joined())\n")
      position += count
    }
  }
}
