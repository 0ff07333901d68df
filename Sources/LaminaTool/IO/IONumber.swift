/// Numbers as qemu-io reads them.
struct IONumber {
  /// Where a warning goes.
  let complain: (String) -> Void

  /// A size or an offset: digits, a fraction where a unit follows, `b k m g t p e` in either case;
  /// or `0x` and hexadecimal digits.
  func size(_ text: String) throws(IOFailure) -> Int {
    let isHex = text.lowercased().hasPrefix("0x")
    guard let value = isHex ? hexadecimal(text) : decimal(text) else {
      throw .said(
        "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- \(text)")
    }
    guard value.isWithin(UInt64(Int.max)) else {
      throw .said("Parsing error: argument too large -- \(text)")
    }
    return Int(value.low)
  }

  /// A product that may be beyond 64 bits.
  private struct Wide {
    let high: UInt64
    let low: UInt64

    func isWithin(_ limit: UInt64) -> Bool { high == 0 && low <= limit }
  }

  private static let units: [Character: UInt64] = [
    "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50, "e": 1 << 60,
  ]

  private func unit(_ suffix: Substring) -> UInt64? {
    if suffix.isEmpty { return 1 }
    guard suffix.count == 1, let letter = suffix.lowercased().first else { return nil }
    return Self.units[letter]
  }

  /// The value of digits; nil without any.
  private func value(_ digits: Substring, radix: UInt64) -> Wide? {
    guard !digits.isEmpty else { return nil }
    var value: UInt64 = 0
    for digit in digits {
      guard let number = digit.hexDigitValue else { return nil }
      let (product, isOver) = value.multipliedReportingOverflow(by: radix)
      let (sum, isOverToo) = product.addingReportingOverflow(UInt64(number))
      if isOver || isOverToo { return Wide(high: 1, low: 0) }
      value = sum
    }
    return Wide(high: 0, low: value)
  }

  private func hexadecimal(_ text: String) -> Wide? {
    let rest = text.dropFirst(2)
    let digits = rest.prefix { $0.isASCII && $0.isHexDigit }
    let suffix = rest.dropFirst(digits.count)
    guard let number = value(digits, radix: 16) else { return nil }
    if let letter = suffix.first?.lowercased().first, Self.units[letter] != nil {
      complain("warning: Using a multiplier suffix on hex numbers is deprecated: \(text)")
    }
    guard let unit = unit(suffix), number.high == 0 else { return suffix.isEmpty ? number : nil }
    let product = number.low.multipliedFullWidth(by: unit)
    return Wide(high: product.high, low: product.low)
  }

  private func decimal(_ text: String) -> Wide? {
    var rest = text.drop { $0.isWhitespace }
    if rest.first == "+" { rest.removeFirst() }
    let digits = rest.prefix { $0.isASCII && $0.isNumber }
    rest = rest.dropFirst(digits.count)
    guard let whole = value(digits, radix: 10) else { return nil }
    var fraction = 0.0
    if rest.first == "." {
      rest.removeFirst()
      let digits = rest.prefix { $0.isASCII && $0.isNumber }
      rest = rest.dropFirst(digits.count)
      fraction = Double("0.\(digits)0") ?? 0
    }
    guard let unit = unit(rest) else { return nil }
    if fraction > 0, unit == 1 { return nil }
    // What rounds up to a whole one counts as none.
    if fraction >= 1 { fraction = 0 }
    guard whole.high == 0 else { return whole }
    let product = whole.low.multipliedFullWidth(by: unit)
    let part = UInt64((fraction * Double(unit)).rounded(.toNearestOrAwayFromZero))
    let (sum, isOver) = product.low.addingReportingOverflow(part)
    return Wide(high: product.high + (isOver ? 1 : 0), low: sum)
  }

  /// A byte that requests write or expect: a number as C writes it.
  static func pattern(_ text: String) throws(IOFailure) -> UInt8 {
    guard let value = plain(text), let byte = UInt8(exactly: value) else {
      throw .said("\(text) is not a valid pattern byte")
    }
    return byte
  }

  /// A number as C writes it: `0x` and hexadecimal digits, `0` and octal ones, or decimal ones; nil
  /// for anything else.
  static func plain(_ text: String) -> Int? {
    var rest = text[...]
    let isNegative = rest.first == "-"
    if isNegative || rest.first == "+" { rest.removeFirst() }
    var radix = 10
    if rest.lowercased().hasPrefix("0x") {
      radix = 16
      rest = rest.dropFirst(2)
    } else if rest.first == "0" {
      radix = 8
    }
    guard rest.allSatisfy({ $0.isASCII && $0.isHexDigit }), let value = Int(rest, radix: radix)
    else { return nil }
    return isNegative ? -value : value
  }
}
