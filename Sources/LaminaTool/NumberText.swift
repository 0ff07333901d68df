/// Numbers as qemu's tools read them from a call.
enum NumberText {
  /// What a text says.
  enum Reading<Number> {
    case number(Number)
    /// A number that 64 bits do not hold.
    case tooLarge
    /// None.
    case none
  }

  /// A whole number as C's `strtoull` reads it with base 0: white space and a sign in front, then
  /// decimal, octal behind `0` or hexadecimal behind `0x`; below zero it wraps around.
  static func integer(_ text: String) -> Reading<UInt64> {
    var rest = Substring(text).utf8
    skipSpace(&rest)
    let isNegative = rest.first == UInt8(ascii: "-")
    if isNegative || rest.first == UInt8(ascii: "+") { rest.removeFirst() }
    let radix = takePrefix(&rest)
    let digits = take(&rest, radix)
    guard digits.count > 0, rest.isEmpty else { return .none }
    guard let value = digits.value else { return .tooLarge }
    return .number(isNegative ? 0 &- value : value)
  }

  /// A whole number of `range` in the same notation, nil for anything else.
  static func integer(_ text: String, in range: ClosedRange<Int>) -> Int? {
    guard case .number(let bits) = integer(text) else { return nil }
    let value = Int(truncatingIfNeeded: bits)
    let wraps = value < 0 && !text.utf8.contains(UInt8(ascii: "-"))
    return !wraps && range.contains(value) ? value : nil
  }

  /// A size in bytes: white space and a plus sign in front, decimal digits, of which some may stand
  /// behind a point where there is a unit, or hexadecimal ones behind `0x`, and a unit
  /// `b k m g t p e` in either case.
  ///
  /// `isDeprecated` is set where hexadecimal digits have a unit.
  static func size(_ text: String, isDeprecated: inout Bool) -> Reading<UInt64> {
    var rest = Substring(text).utf8
    skipSpace(&rest)
    if rest.first == UInt8(ascii: "+") { rest.removeFirst() }
    let isHexadecimal = takePrefix(&rest) == 16
    let digits = take(&rest, isHexadecimal ? 16 : 10)
    guard digits.count > 0 else { return .none }
    var fraction = 0.0
    if !isHexadecimal, rest.first == UInt8(ascii: ".") {
      let point = rest
      rest.removeFirst()
      _ = take(&rest, 10)
      let value = Double("0" + String(Substring(point[..<rest.startIndex])) + "0") ?? 0
      fraction = value < 1 ? value : 0  // So many nines are none, as in qemu-img.
    }
    var unit: UInt64 = 1
    if let letter = rest.first {
      guard let known = units[letter | 0x20] else { return .none }
      rest.removeFirst()
      unit = known
    }
    guard rest.isEmpty, fraction == 0 || unit > 1 else { return .none }
    guard let value = digits.value else { return unit == 1 ? .tooLarge : .none }
    let (product, overflow) = value.multipliedReportingOverflow(by: unit)
    let (sum, carry) = product.addingReportingOverflow(UInt64(fraction * Double(unit)))
    guard !overflow, !carry else { return .tooLarge }
    if isHexadecimal, unit > 1 { isDeprecated = true }
    return .number(sum)
  }

  private static let units: [UInt8: UInt64] = [
    UInt8(ascii: "b"): 1, UInt8(ascii: "k"): 1 << 10, UInt8(ascii: "m"): 1 << 20,
    UInt8(ascii: "g"): 1 << 30, UInt8(ascii: "t"): 1 << 40, UInt8(ascii: "p"): 1 << 50,
    UInt8(ascii: "e"): 1 << 60,
  ]

  private static func skipSpace(_ rest: inout Substring.UTF8View) {
    while let byte = rest.first, byte == 0x20 || (0x09...0x0d).contains(byte) {
      rest.removeFirst()
    }
  }

  /// Takes what says the radix; the `0` of octal numbers stays, being a digit.
  private static func takePrefix(_ rest: inout Substring.UTF8View) -> UInt64 {
    guard rest.first == UInt8(ascii: "0") else { return 10 }
    let second = rest.dropFirst()
    guard let letter = second.first, letter | 0x20 == UInt8(ascii: "x"),
      let digit = second.dropFirst().first, value(of: digit) < 16
    else { return 8 }
    rest = second.dropFirst()
    return 16
  }

  /// Takes digits; `value` is nil where they are too many.
  private static func take(
    _ rest: inout Substring.UTF8View, _ radix: UInt64
  ) -> (count: Int, value: UInt64?) {
    var count = 0
    var sum: UInt64? = 0
    while let byte = rest.first, value(of: byte) < radix {
      rest.removeFirst()
      count += 1
      guard let before = sum else { continue }
      let (product, overflow) = before.multipliedReportingOverflow(by: radix)
      let (next, carry) = product.addingReportingOverflow(value(of: byte))
      sum = overflow || carry ? nil : next
    }
    return (count, sum)
  }

  private static func value(of byte: UInt8) -> UInt64 {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt64(byte - UInt8(ascii: "0"))
    case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt64(byte - UInt8(ascii: "a") + 10)
    case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt64(byte - UInt8(ascii: "A") + 10)
    default: .max
    }
  }
}

extension Tool {
  /// A size that a call states, in bytes; `what` is as messages call it.
  func size(
    _ text: String, _ what: String, in range: ClosedRange<Int> = 0...Int.max
  ) throws(ToolFailure) -> Int {
    switch readSize(text) {
    case .number(let bits):
      if let size = Int(exactly: bits), range.contains(size) { return size }
    case .tooLarge: break
    case .none:
      throw ToolFailure(
        message: "Invalid \(what) specified. You may use k, M, G, T, P or E suffixes for\n"
          + "\(name): kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.")
    }
    throw ToolFailure(
      message: "Invalid \(what) specified. Must be between \(range.lowerBound) and "
        + "\(range.upperBound).")
  }

  /// A size that a parameter states, as its 64 bits.
  func size(_ text: String, parameter key: String) throws(ToolFailure) -> UInt64 {
    switch readSize(text) {
    case .number(let bits): return bits
    case .tooLarge:
      throw ToolFailure(message: "Value '\(text)' is out of range for parameter '\(key)'")
    case .none:
      throw ToolFailure(
        message: "Parameter '\(key)' expects a non-negative number below 2^64\n"
          + "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
          + "and exabytes, respectively.")
    }
  }

  private func readSize(_ text: String) -> NumberText.Reading<UInt64> {
    var isDeprecated = false
    let reading = NumberText.size(text, isDeprecated: &isDeprecated)
    if isDeprecated {
      console.complain(
        "\(name): warning: Using a multiplier suffix on hex numbers is deprecated: \(text)")
    }
    return reading
  }
}
