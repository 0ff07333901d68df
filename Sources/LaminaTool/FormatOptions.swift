internal import BlockLayer

/// The `key=value,…` lists of `-o`, as qemu's tools read them: a comma in a value is doubled, a key
/// alone is on, and off behind `no`.
struct FormatOptions {
  /// An option of a format.
  struct Description {
    /// What its value is, as `-o help` calls it.
    enum Kind: String {
      case text = "str"
      case flag = "bool (on/off)"
      case size
      case number = "num"
    }
    let key: String
    let kind: Kind
    let text: String

    init(_ key: String, _ kind: Kind, _ text: String) {
      (self.key, self.kind, self.text) = (key, kind, text)
    }

    /// The line of `-o help`.
    var line: String {
      let head = "  \(key)=<\(kind.rawValue)>"
      return head + String(repeating: " ", count: max(1, 25 - head.count)) + "- " + text
    }
  }

  /// A value: as it was written, and the bits of a size or number.
  struct Value {
    let text: String
    let bits: UInt64
  }

  private let known: [Description]
  private var values: [String: Value] = [:]

  /// Looks whether a list can be taken apart, as soon as it is met.
  static func check(_ list: String) throws(ToolFailure) {
    let commas = list.reversed().prefix { $0 == "," }.count
    if list.isEmpty || list.hasPrefix(",") || commas % 2 == 1 {
      throw ToolFailure(message: "Invalid option list: \(list)")
    }
  }

  /// Whether a list asks which options there are.
  static func askForHelp(_ lists: [String]) -> Bool {
    lists.contains { items(of: $0).contains { $0 == "help" || $0 == "?" } }
  }

  /// The options of `lists`, all of them among `known`; of two for a key the later one counts.
  init(_ lists: [String], known: [Description], _ tool: Tool) throws(ToolFailure) {
    self.known = known
    for item in lists.flatMap(Self.items(of:)) {
      let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      if parts.count > 1 {
        try set(String(parts[0]), String(parts[1]), tool)
      } else if item.hasPrefix("no") {
        try set(String(item.dropFirst(2)), "off", tool)
      } else {
        try set(item, "on", tool)
      }
    }
  }

  /// Sets an option, as if a list had it.
  mutating func set(_ key: String, _ text: String, _ tool: Tool) throws(ToolFailure) {
    guard let option = known.first(where: { $0.key == key }) else {
      throw ToolFailure(message: "Invalid parameter '\(key)'")
    }
    var bits: UInt64 = 0
    switch option.kind {
    case .text: break
    case .flag: _ = try Self.flag(text, key)
    case .size: bits = try tool.size(text, parameter: key)
    case .number:
      switch NumberText.integer(text) {
      case .number(let value): bits = value
      case .tooLarge:
        throw ToolFailure(message: "Value '\(text)' is too large for parameter '\(key)'")
      case .none: throw ToolFailure(message: "Parameter '\(key)' expects a number")
      }
    }
    values[key] = Value(text: text, bits: bits)
  }

  /// The keys that were given, in the order of the known ones.
  var keys: [String] { known.map(\.key).filter { values[$0] != nil } }

  /// A value as it was written.
  func text(_ key: String) -> String? { values[key]?.text }

  /// The bits of a size or number.
  func bits(_ key: String) -> UInt64? { values[key]?.bits }

  /// A flag; off where it is not given.
  func flag(_ key: String) -> Bool { values[key].flatMap { OptionText.flag($0.text) } ?? false }

  /// What qemu-img prints of them when it makes an image; `defaults` are printed where the options
  /// say nothing else.
  func announcement(_ defaults: [String: String]) -> String {
    var text = ""
    for option in known {
      guard let value = values[option.key] else {
        if let value = defaults[option.key] { text += " \(option.key)=\(value)" }
        continue
      }
      let shown =
        switch option.kind {
        case .size, .number: String(Int64(bitPattern: value.bits))
        case .flag: value.text
        case .text: value.text.replacing(",", with: ",,")
        }
      text += " \(option.key)=\(shown)"
    }
    return text
  }

  /// The value of `on` or `off`, in any of qemu's spellings.
  static func flag(_ text: String, _ key: String) throws(ToolFailure) -> Bool {
    guard let flag = OptionText.flag(text) else {
      throw ToolFailure(message: "Parameter '\(key)' expects 'on' or 'off'")
    }
    return flag
  }

  private static func items(of list: String) -> [String] { OptionText.items(list) }
}
