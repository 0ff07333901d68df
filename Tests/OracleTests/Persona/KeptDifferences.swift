import Foundation

/// The differences that docs/Deviations.md says are kept.
///
/// They stand in a table under one heading: the verb (`*` for all), a regular expression for what
/// QEMU's tool says, one for what ours says, and the reason. A bar in an expression is written
/// `\|`. Where both match, what they match is put out of the answers, which must then be equal; an
/// empty expression stands for nothing at all.
struct KeptDifferences {
  static let heading = "## What the oracle lets pass"

  struct Row {
    let verb: String
    let theirs: String
    let ours: String
  }
  let rows: [Row]

  /// The project's own list.
  static let project: KeptDifferences = {
    let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
    let text = try? String(
      contentsOf: root.appending(path: "docs/Deviations.md"), encoding: .utf8)
    return KeptDifferences(text ?? "")
  }()

  /// The rows that `text` has below the heading.
  init(_ text: String) {
    var rows: [Row] = []
    var isInside = false
    for line in text.split(separator: "\n") {
      if line.hasPrefix("## ") { isInside = line == Self.heading }
      guard isInside, line.hasPrefix("| ") else { continue }
      let cells = line.replacingOccurrences(of: "\\|", with: "\u{1}").split(
        separator: "|", omittingEmptySubsequences: false
      ).dropFirst().dropLast().map {
        Self.code(in: $0).replacingOccurrences(of: "\u{1}", with: "|")
      }
      guard cells.count == 4, cells[0] != "Verb", !cells[0].hasPrefix("-") else { continue }
      rows.append(Row(verb: cells[0], theirs: cells[1], ours: cells[2]))
    }
    self.rows = rows
  }

  /// What stands in a cell, without the marks of code.
  private static func code(in cell: some StringProtocol) -> String {
    let text = cell.trimmingCharacters(in: .whitespaces)
    let isCode = text.count > 1 && text.hasPrefix("`") && text.hasSuffix("`")
    return isCode ? String(text.dropFirst().dropLast()) : text
  }

  /// Whether two answers are the same but for what is kept.
  func agree(_ verb: String, theirs: String, ours: String) -> Bool {
    if theirs == ours { return true }
    var (left, right) = (theirs, ours)
    for (number, row) in rows.enumerated() where row.verb == "*" || row.verb == verb {
      guard row.theirs.isEmpty || matches(row.theirs, left),
        row.ours.isEmpty || matches(row.ours, right)
      else { continue }
      let mark = row.theirs.isEmpty || row.ours.isEmpty ? "" : "<\(number)>"
      left = replacing(row.theirs, in: left, by: mark)
      right = replacing(row.ours, in: right, by: mark)
    }
    return left == right
  }

  private func matches(_ expression: String, _ text: String) -> Bool {
    text.range(of: expression, options: .regularExpression) != nil
  }

  private func replacing(_ expression: String, in text: String, by mark: String) -> String {
    guard !expression.isEmpty else { return text }
    return text.replacingOccurrences(of: expression, with: mark, options: .regularExpression)
  }
}
