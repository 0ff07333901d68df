internal import BlockLayer
internal import SystemPackage

/// An image as a caller names it: a path, perhaps behind a protocol, `json:{…}`, or a list of
/// options.
struct ImageName {
  /// The name as it was written.
  let text: String
  /// Whether it is a list of options, `driver=qcow2,file.filename=…`.
  let isOptionList: Bool

  init(_ text: String, isOptionList: Bool = false) {
    self.text = text
    self.isOptionList = isOptionList
  }

  /// The host file's path, where the name is that and nothing else.
  var plainPath: String? {
    if isOptionList { return nil }
    switch Self.scheme(of: text) {
    case nil: return text
    case "file": return String(text.dropFirst("file:".count))
    default: return nil
    }
  }

  /// What stands before the first colon of a name that begins with a protocol.
  static func scheme(of name: String) -> String? {
    let head = name.prefix { $0 != "/" }
    return head.firstIndex(of: ":").map { String(head[..<$0]) }
  }

  /// The options that the name stands for, and `format`, which wins over a format in them; nil for
  /// a name that is not made of options.
  func settings(format: String?) throws(BlockError) -> NodeSettings? {
    var settings: NodeSettings
    if isOptionList {
      settings = NodeSettings(imageOptions: text)
    } else if text.hasPrefix("json:") {
      settings = try Self.settings(json: text)
    } else {
      return nil
    }
    if let format { settings.set("driver", .string(format)) }
    return settings
  }

  /// The options of a name that begins with `json:`.
  static func settings(json name: String) throws(BlockError) -> NodeSettings {
    let json = String(name.dropFirst("json:".count))
    let value: JSONValue
    do {
      value = try JSONReader.value(json)
    } catch {
      throw error.prefixed("Could not parse the JSON options")
    }
    guard let settings = NodeSettings(value) else {
      throw BlockError(.invalidArgument, "Invalid JSON object given")
    }
    return settings
  }
}

extension ImageName {
  /// The image that the words and options of a call name.
  init(_ text: String, _ parsed: OptionParser.Result) {
    self.init(text, isOptionList: parsed.has("image-opts"))
  }
}
