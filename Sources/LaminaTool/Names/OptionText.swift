internal import BlockLayer

/// The words of option lists, wherever qemu's tools take them.
enum OptionText {
  /// The items of a list; a comma in one is doubled.
  static func items(_ list: String) -> [String] {
    var items: [String] = [""]
    var rest = list[...]
    while let character = rest.popFirst() {
      if character != "," {
        items[items.count - 1].append(character)
      } else if rest.first == "," {
        rest.removeFirst()
        items[items.count - 1].append(",")
      } else {
        items.append("")
      }
    }
    if items.last == "" { items.removeLast() }
    return items
  }

  /// Whether an option is on, in any of qemu's spellings; nil when it is no flag.
  static func flag(_ text: String) -> Bool? {
    switch text {
    case "on", "yes", "true", "y": true
    case "off", "no", "false", "n": false
    default: nil
    }
  }

  /// Whether a word can name an object.
  static func isIdentifier(_ text: String) -> Bool {
    let isLetter = { (byte: UInt8) in (0x41...0x5a).contains(byte & 0xdf) }
    guard let first = text.utf8.first, isLetter(first) else { return false }
    return text.utf8.allSatisfy {
      isLetter($0) || (0x30...0x39).contains($0) || "-._".utf8.contains($0)
    }
  }

  /// A text of a caller or an image, safe to print.
  static func printable(_ text: String) -> String { OpenPolicy.printable(text) }
}
