/// Rules about Markdown, and about what may stand in any file.
enum DocumentRules {
  static let all = [title, machinePaths, fileSize]

  static let maxFileBytes = 1 << 20

  static let title = Rule("a Markdown page has exactly one title", where: \.isMarkdown) { file in
    let titles = file.titleLines
    switch titles.count {
    case 1: return []
    case 0: return [file.problem(1, "no `# Title`")]
    default: return titles.dropFirst().map { file.problem($0, "a second title: use `##`") }
    }
  }

  /// Written in pieces, so that this file keeps the rule.
  static let machineFolders = ["/" + "work", "/" + "root", "/tmp/" + "lamina"]

  static let machinePaths = Rule("no file names a folder of one machine", where: { _ in true }) {
    file in
    guard machineFolders.contains(where: { file.text.contains($0) }) else { return [] }
    return file.lines.enumerated().flatMap { index, line in
      machineFolders.filter { line.names(folder: $0) }.map {
        file.problem(index + 1, "\($0): write a path that holds on every machine")
      }
    }
  }

  static let fileSize = Rule("no file is above 1 MiB", where: { _ in true }) { file in
    guard file.byteCount > maxFileBytes else { return [] }
    return [file.problem(0, "\(file.byteCount) bytes, over 1 MiB: make it when it is needed")]
  }
}

extension SourceFile {
  /// The lines of level-one headings, outside fenced code.
  fileprivate var titleLines: [Int] {
    var isFenced = false
    return lines.enumerated().compactMap { index, line in
      if line.drop(while: { $0 == " " }).hasPrefix("```") { isFenced.toggle() }
      return !isFenced && line.hasPrefix("# ") ? index + 1 : nil
    }
  }
}

extension Substring {
  /// Whether the line names `folder` as an absolute path, not as the middle of a longer one.
  fileprivate func names(folder: String) -> Bool {
    var rest = self[...]
    while let range = rest.firstRange(of: folder) {
      let before = range.lowerBound > startIndex ? self[index(before: range.lowerBound)] : " "
      let after = range.upperBound < endIndex ? self[range.upperBound] : " "
      let startsPath = !(before.isLetter || before.isNumber || "_-.})*".contains(before))
      let endsName = !(after.isLetter || after.isNumber || after == "_" || after == "-")
      if startsPath && endsName { return true }
      rest = rest[range.upperBound...]
    }
    return false
  }
}
