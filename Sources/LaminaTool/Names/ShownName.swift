internal import BlockLayer

/// The name of an open image, as qemu's tools show it: a file's name where that says all, else
/// `json:` and the options that matter.
struct ShownName {
  /// A name that opens the same nodes; nil where there is none.
  let exact: String?
  /// The options that open the same nodes.
  let options: [(key: String, value: JSONText)]

  /// Options stand in the order that qemu's tools have for them.
  private static let order = [
    "inject-error.0.state", "opt-write-zero", "inject-error.0.immediately", "set-state.0.event",
    "inject-error.0.once", "max-write-zero", "offset", "read-zeroes", "image", "max-transfer",
    "driver", "inject-error.0.iotype", "set-state.0.new_state", "inject-error.0.errno",
    "inject-error.0.event", "opt-discard", "set-state.0.state", "inject-error.0.sector",
    "max-discard", "size", "file", "filename", "config", "align",
  ]

  /// A node of `driver` with `options`; `exact` is another name for it.
  init(driver: String, _ options: [(key: String, value: JSONText)], exact: String?) {
    let all = [(key: "driver", value: JSONText.string(driver))] + options
    let places = all.map { item in Self.order.firstIndex(of: item.key) ?? Self.order.count }
    self.options = zip(places, all.indices).sorted { $0 < $1 }.map { all[$0.1] }
    self.exact = exact
  }

  var object: JSONText { .object(options.map { ($0.key, $0.value) }) }

  /// The name.
  var text: String { exact ?? "json:" + object.compact }
}

extension JSONText {
  /// An option's value; as in qemu's names, a size that was written as text stays text.
  init(_ value: JSONValue) {
    switch value {
    case .string(let text): self = .string(text)
    case .number(let digits): self = Int(digits).map { .number($0) } ?? .string(digits)
    case .bool(let flag): self = .bool(flag)
    case .null: self = .string("")
    case .array(let items): self = .array(items.map { JSONText($0) })
    case .object(let members): self = .object(members.map { ($0.key, JSONText($0.value)) })
    }
  }
}
