internal import BlockLayer
internal import Primitives

/// The configuration files of blkdebug: sections `[inject-error]` and `[set-state]`, lines
/// `key = "value"`, comments after `#`.
enum BlkdebugConfiguration {
  /// The longest file that is read.
  private static let maxBytes = 1 << 20

  /// The rules of the file at `path`.
  static func rules(of path: String) async throws(BlockError) -> BlkdebugRules {
    var options = OpenOptions(format: "file", readOnly: true)
    options.locking = .off
    let text: String
    do throws(BlockError) {
      let file = try FileDriver.open(path, options)
      let range = ByteRange(0, min(file.exactLength, maxBytes))
      var buffer = IOBuffer(byteCount: range.count)
      var bytes = buffer.mutableBytes
      try await file.read(range, into: &bytes)
      try await file.close()
      text = String(decoding: bytes.bytes.toArray(), as: UTF8.self)
    } catch {
      throw BlockError(
        error.code, "Could not read blkdebug config file: \(error.errno)", errno: error.errno)
    }
    return try rules(text, path)
  }

  /// The rules that a file's text states.
  static func rules(_ text: String, _ path: String) throws(BlockError) -> BlkdebugRules {
    var sections: [(name: String, settings: NodeSettings)] = []
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated()
    {
      let words = trimmed(line)
      if words.isEmpty || words.hasPrefix("#") { continue }
      if words.hasPrefix("["), words.hasSuffix("]") {
        let name = String(words.dropFirst().dropLast())
        guard ["inject-error", "set-state"].contains(name) else {
          throw BlockError(
            .invalidArgument, "There is no option group '\(OptionText.printable(name))'")
        }
        sections.append((name, NodeSettings()))
        continue
      }
      guard let (key, value) = pair(words) else {
        throw BlockError(
          .invalidArgument, "Could not parse blkdebug config file: line \(index + 1)")
      }
      guard !sections.isEmpty else {
        throw BlockError(.invalidArgument, "no group defined")
      }
      sections[sections.count - 1].settings.set(key, .string(value))
    }
    var rules = BlkdebugRules()
    for section in sections {
      if section.name == "inject-error" {
        rules.injectErrors.append(try BlkdebugRules.InjectError(section.settings))
      } else {
        rules.setStates.append(try BlkdebugRules.SetState(section.settings))
      }
    }
    return rules
  }

  private static func pair(_ words: Substring) -> (key: String, value: String)? {
    guard let equals = words.firstIndex(of: "=") else { return nil }
    let key = trimmed(words[..<equals])
    let value = trimmed(words[words.index(after: equals)...])
    guard !key.isEmpty, value.count >= 2, value.hasPrefix("\""), value.hasSuffix("\"") else {
      return nil
    }
    return (String(key), String(value.dropFirst().dropLast()))
  }

  private static func trimmed(_ text: Substring) -> Substring {
    var text = text
    while text.first?.isWhitespace ?? false { text.removeFirst() }
    while text.last?.isWhitespace ?? false { text.removeLast() }
    return text
  }
}
