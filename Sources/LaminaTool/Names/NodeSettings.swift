internal import BlockLayer
internal import Primitives

/// The options of a node and of the nodes below it by dotted keys, as `--image-opts` and `json:`
/// give them: `driver`, `file.driver`, `file.filename`.
///
/// Who builds a node takes the options that it knows; what is left then is wrong.
struct NodeSettings {
  private(set) var items: [(key: String, value: JSONValue)] = []

  /// No options.
  init() {}

  /// The list `key=value,…`; a comma in a value is doubled.
  ///
  /// A first item without a key is the value of `impliedKey`. Throws, with qemu's text, for an item
  /// without a value.
  init(list: String, impliedKey: String) throws(BlockError) {
    for (index, item) in OptionText.items(list).enumerated() {
      let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      if parts.count > 1 {
        guard OptionText.isIdentifier(String(parts[0])) else {
          throw BlockError(.invalidArgument, "Invalid parameter '\(parts[0])'")
        }
        set(String(parts[0]), .string(String(parts[1])))
      } else if index == 0 {
        set(impliedKey, .string(item))
      } else {
        throw BlockError(.invalidArgument, "Expected '=' after parameter '\(item)'")
      }
    }
  }

  /// The list `key=value,…` of `--image-opts`: a key alone is on, a first word alone is a node.
  init(imageOptions list: String) {
    for (index, item) in OptionText.items(list).enumerated() {
      let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      if parts.count > 1 {
        set(String(parts[0]), .string(String(parts[1])))
      } else if index == 0 {
        set("file", .string(item))
      } else {
        set(item, .string("on"))
      }
    }
  }

  /// A JSON object, with the keys of inner objects and the indices of lists behind dots.
  ///
  /// Nil for another value.
  init?(_ json: JSONValue) {
    guard case .object(let members) = json else { return nil }
    add(members, below: "")
  }

  private mutating func add(_ members: [(key: String, value: JSONValue)], below prefix: String) {
    for (key, value) in members {
      switch value {
      case .object(let inner) where !inner.isEmpty: add(inner, below: prefix + key + ".")
      case .array(let inner) where !inner.isEmpty:
        let numbered = inner.enumerated().map { (key: String($0.offset), value: $0.element) }
        add(numbered, below: prefix + key + ".")
      default: set(prefix + key, value)
      }
    }
  }

  /// Sets an option, in the place of an earlier one of that key.
  mutating func set(_ key: String, _ value: JSONValue) {
    items.removeAll { $0.key == key }
    items.append((key, value))
  }

  // MARK: - Taking

  var isEmpty: Bool { items.isEmpty }
  /// The key of the first option that is left.
  var firstKey: String? { items.first?.key }

  /// Takes an option out as text: numbers as they were written, truth as `on` and `off`.
  ///
  /// Nil where it is absent, or is no such value.
  mutating func take(_ key: String) -> String? {
    guard let value = takeValue(key) else { return nil }
    switch value {
    case .string(let text), .number(let text): return text
    case .bool(let flag): return flag ? "on" : "off"
    case .null, .array, .object: return nil
    }
  }

  /// Takes an option out as it is.
  mutating func takeValue(_ key: String) -> JSONValue? {
    guard let index = items.firstIndex(where: { $0.key == key }) else { return nil }
    return items.remove(at: index).value
  }

  /// Takes an option out that is a text and nothing else.
  mutating func takeString(_ key: String) -> String? {
    guard let index = items.firstIndex(where: { $0.key == key }),
      case .string(let text) = items[index].value
    else { return nil }
    items.remove(at: index)
    return text
  }

  /// Takes the options of the node `name` below this one out; their keys lose the name.
  mutating func takeChild(_ name: String) -> NodeSettings {
    var child = NodeSettings()
    let prefix = name + "."
    for (key, value) in items where key.hasPrefix(prefix) {
      child.set(String(key.dropFirst(prefix.count)), value)
    }
    items.removeAll { $0.key.hasPrefix(prefix) }
    return child
  }

  /// Takes the list `name` out: the options of each of its elements.
  mutating func takeList(_ name: String) -> [NodeSettings] {
    var list: [NodeSettings] = []
    while true {
      let element = takeChild("\(name).\(list.count)")
      if element.isEmpty { return list }
      list.append(element)
    }
  }

  /// Takes a flag out; throws for what is neither on nor off.
  mutating func takeFlag(_ key: String) throws(BlockError) -> Bool? {
    guard let text = take(key) else { return nil }
    guard let flag = OptionText.flag(text) else {
      throw BlockError(.invalidArgument, "Parameter '\(key)' expects 'on' or 'off'")
    }
    return flag
  }

  /// Takes a size in bytes out; throws for what is none.
  mutating func takeSize(_ key: String) throws(BlockError) -> Int? {
    guard let text = take(key) else { return nil }
    guard let size = ByteSize.parse(text) else {
      throw BlockError(
        .invalidArgument,
        "Parameter '\(key)' expects a non-negative number below 2^64\n"
          + "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
          + "and exabytes, respectively.")
    }
    return size
  }

  /// Takes one of the words `allowed` out; throws for another.
  mutating func takeWord(_ key: String, _ allowed: [String]) throws(BlockError) -> String? {
    guard let word = take(key) else { return nil }
    guard allowed.contains(word) else {
      throw BlockError(
        .invalidArgument, "invalid parameter value: \(OptionText.printable(word))")
    }
    return word
  }
}
