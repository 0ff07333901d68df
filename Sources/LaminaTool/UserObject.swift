internal import BlockLayer
internal import SystemPackage

/// The objects that `--object` defines.
///
/// There is one kind, `secret`, and nothing here needs one: encrypted images are not opened. It is
/// looked at so that a call with one is neither refused nor let through with nonsense.
struct UserObjects {
  private var names: Set<String> = []

  /// Takes a definition: a list of options, the first of which is the kind, or JSON.
  mutating func define(_ text: String) throws(ToolFailure) {
    var settings = try read(text)
    guard let kind = settings.take("qom-type") else {
      throw ToolFailure(message: "Parameter 'qom-type' is missing")
    }
    guard kind == "secret" else {
      throw ToolFailure(
        message: "Parameter 'qom-type' does not accept value '\(OptionText.printable(kind))'")
    }
    guard let name = settings.take("id") else {
      throw ToolFailure(message: "Parameter 'id' is missing")
    }
    let data = settings.take("data")
    let file = settings.take("file")
    for key in ["format", "keyid", "iv", "loaded"] { _ = settings.take(key) }
    if let key = settings.firstKey {
      throw ToolFailure(message: "Parameter '\(OptionText.printable(key))' is unexpected")
    }
    guard OptionText.isIdentifier(name) else {
      throw ToolFailure(
        message: "Parameter 'id' expects an identifier\n"
          + "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.")
    }
    guard data == nil || file == nil else {
      throw ToolFailure(message: "'file' and 'data' are mutually exclusive")
    }
    guard data != nil || file != nil else {
      throw ToolFailure(message: "Either 'file' or 'data' must be provided")
    }
    if let file { try look(at: file) }
    guard names.insert(name).inserted else {
      throw ToolFailure(
        message: "attempt to add duplicate property '\(name)' to object (type 'container')")
    }
  }

  private func read(_ text: String) throws(ToolFailure) -> NodeSettings {
    do throws(BlockError) {
      if text.hasPrefix("{"), let settings = NodeSettings(try JSONReader.value(text)) {
        return settings
      }
      return try NodeSettings(list: text, impliedKey: "qom-type")
    } catch {
      throw ToolFailure(message: error.message)
    }
  }

  private func look(at file: String) throws(ToolFailure) {
    do {
      try FileDescriptor.open(file, .readOnly).close()
    } catch {
      let reason = (error as? Errno)?.description ?? "\(error)"
      throw ToolFailure(
        message: "Unable to read \(OptionText.printable(file)): Failed to open file "
          + "“\(OptionText.printable(file))”: \(reason)")
    }
  }
}
