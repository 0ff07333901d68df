internal import BlockLayer
internal import Lamina
internal import Primitives
internal import Qcow2

/// The `key=value,…` lists of `-o`, as qemu's tools read them: a comma in a value is doubled, a key
/// alone is on.
struct FormatOptions {
  /// The pairs in the order in which they were given.
  private(set) var pairs: [(key: String, value: String)] = []

  /// Takes one list.
  mutating func take(_ list: String) {
    var items: [String] = [""]
    var rest = list[...]
    while let character = rest.popFirst() {
      if character != "," {
        items[items.count - 1].append(character)
      } else if rest.first == "," {
        rest = rest.dropFirst()
        items[items.count - 1].append(",")
      } else {
        items.append("")
      }
    }
    for item in items where !item.isEmpty {
      let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      pairs.append((String(parts[0]), parts.count > 1 ? String(parts[1]) : "on"))
    }
  }

  /// Whether a list asks which options there are.
  var asksForHelp: Bool { pairs.contains { $0.value == "on" && ["help", "?"].contains($0.key) } }

  /// The value of `on` or `off`, in any of qemu's spellings.
  static func flag(_ text: String, _ key: String) throws(ToolFailure) -> Bool {
    switch text {
    case "on", "yes", "true", "y": return true
    case "off", "no", "false", "n": return false
    default: throw ToolFailure(message: "Parameter '\(key)' expects 'on' or 'off'")
    }
  }

  /// A size in bytes.
  static func size(_ text: String, _ key: String) throws(ToolFailure) -> Int {
    guard let size = ByteSize.parse(text) else {
      throw ToolFailure(
        message: "Parameter '\(key)' expects a non-negative number below 2^64\n"
          + "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
          + "and exabytes, respectively.")
    }
    return size
  }

  /// A version of the format, by either of its names.
  static func version(_ text: String) -> FormatVersion? {
    ["0.10": .v2, "v2": .v2, "1.1": .v3, "v3": .v3][text]
  }
}

extension FormatOptions {
  /// An option of a format: how `-o help` shows it.
  struct Description {
    let key: String
    let type: String
    let text: String
    let isAmendable: Bool

    init(_ key: String, _ type: String, _ text: String, isAmendable: Bool = false) {
      (self.key, self.type, self.text) = (key, type, text)
      self.isAmendable = isAmendable
    }

    /// The line, as qemu-img prints it.
    var line: String {
      let head = "  \(key)=<\(type)>"
      return head + String(repeating: " ", count: max(1, 25 - head.count)) + "- " + text
    }
  }

  private static let flagType = "bool (on/off)"

  /// The options of qcow2, in alphabetical order.
  static let qcow2: [Description] = [
    Description("backing_file", "str", "File name of a base image", isAmendable: true),
    Description("backing_fmt", "str", "Image format of the base image", isAmendable: true),
    Description("cluster_size", "size", "qcow2 cluster size"),
    Description(
      "compat", "str", "Compatibility level (v2 [0.10] or v3 [1.1])", isAmendable: true),
    Description("compression_type", "str", "Compression method used for image cluster compression"),
    Description("data_file", "str", "File name of an external data file", isAmendable: true),
    Description(
      "data_file_raw", flagType, "The external data file must stay valid as a raw image",
      isAmendable: true),
    Description("extended_l2", flagType, "Extended L2 tables"),
    Description("lazy_refcounts", flagType, "Postpone refcount updates", isAmendable: true),
    Description(
      "preallocation", "str", "Preallocation mode (allowed values: off, metadata, falloc, full)"),
    Description(
      "refcount_bits", "num", "Width of a reference count entry in bits", isAmendable: true),
    Description("size", "size", "Virtual disk size", isAmendable: true),
  ]

  /// The options of raw.
  static let raw: [Description] = [
    Description(
      "preallocation", "str", "Preallocation mode (allowed values: off, falloc, full)"),
    Description("size", "size", "Virtual disk size"),
  ]
}
