/// Sizes in bytes as people write and read them.
///
/// K, M, G, T, P, E are powers of 1024.
public enum ByteSize {
  /// The size that `text` names: digits, optionally one of `b k m g t p e` in either case (qemu-
  /// io's and qemu-img's suffixes), or `0x` and hexadecimal digits.
  ///
  /// Nil when it is none, or is beyond `Int.max`.
  public static func parse(_ text: String) -> Int? {
    let lowered = text.lowercased()
    if lowered.hasPrefix("0x") { return digits(lowered.dropFirst(2), radix: 16) }
    guard let last = lowered.last else { return nil }
    guard let unit = suffixes[last] else { return digits(lowered[...], radix: 10) }
    guard let number = digits(lowered.dropLast(), radix: 10) else { return nil }
    let (size, overflow) = number.multipliedReportingOverflow(by: unit)
    return overflow ? nil : size
  }

  /// The size as qemu-img prints it: `64 MiB`, `1.5 GiB`, `512 B`: at most three significant
  /// digits.
  public static func describe(_ byteCount: Int) -> String {
    var unit = 0
    var value = Double(byteCount)
    while value >= 1000, unit < units.count - 1 {
      value /= 1024
      unit += 1
    }
    return "\(threeDigits(value)) \(units[unit])"
  }

  private static let suffixes: [Character: Int] = [
    "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50, "e": 1 << 60,
  ]
  private static let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]

  private static func digits(_ text: Substring, radix: Int) -> Int? {
    guard text.allSatisfy({ $0.isHexDigit }) else { return nil }  // no sign, no white space
    return Int(text, radix: radix)
  }

  /// C's `%0.3g` for a value of 0 ..< 1024: three significant digits, no trailing zeros.
  private static func threeDigits(_ value: Double) -> String {
    let decimals = value < 1 ? 3 : value < 10 ? 2 : value < 100 ? 1 : 0
    let scale = [1.0, 10.0, 100.0, 1000.0][decimals]
    let scaled = Int((value * scale).rounded(.toNearestOrEven))
    var text = String(scaled / Int(scale))
    var fraction = decimals == 0 ? "" : String(scaled % Int(scale))
    while fraction.count < decimals { fraction = "0" + fraction }
    while fraction.hasSuffix("0") { fraction.removeLast() }
    if !fraction.isEmpty { text += "." + fraction }
    return text
  }
}
