/// JSON in the order and the shape in which qemu's tools print it: objects keep their order, four
/// spaces a level.
indirect enum JSONText: Sendable {
  case string(String)
  case number(Int)
  case bool(Bool)
  case array([JSONText])
  case object([(String, JSONText)])

  /// The text, indented.
  func pretty(_ level: Int = 0) -> String {
    let inner = String(repeating: " ", count: (level + 1) * 4)
    let outer = String(repeating: " ", count: level * 4)
    switch self {
    case .array(let items):
      if items.isEmpty { return "[\n\(outer)]" }
      let lines = items.map { inner + $0.pretty(level + 1) }
      return "[\n" + lines.joined(separator: ",\n") + "\n\(outer)]"
    case .object(let items):
      if items.isEmpty { return "{\n\(outer)}" }
      let lines = items.map { "\(inner)\(JSONText.quote($0.0)): \($0.1.pretty(level + 1))" }
      return "{\n" + lines.joined(separator: ",\n") + "\n\(outer)}"
    default: return compact
    }
  }

  /// The text on one line.
  var compact: String {
    switch self {
    case .string(let text): return JSONText.quote(text)
    case .number(let number): return String(number)
    case .bool(let flag): return flag ? "true" : "false"
    case .array(let items): return "[" + items.map(\.compact).joined(separator: ", ") + "]"
    case .object(let items):
      return "{"
        + items.map { "\(JSONText.quote($0.0)): \($0.1.compact)" }.joined(separator: ", ") + "}"
    }
  }

  private static func quote(_ text: String) -> String {
    var quoted = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": quoted += "\\\""
      case "\\": quoted += "\\\\"
      case "\n": quoted += "\\n"
      case "\t": quoted += "\\t"
      case "\r": quoted += "\\r"
      default:
        if scalar.value < 0x20 || scalar.value > 0x7e {
          for unit in String(scalar).utf16 {
            let digits = String(unit, radix: 16)
            quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
          }
        } else {
          quoted.unicodeScalars.append(scalar)
        }
      }
    }
    return quoted + "\""
  }
}
