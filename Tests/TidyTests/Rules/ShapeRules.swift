/// Rules about lengths and layout.
enum ShapeRules {
  static let all = [fileLength, median, bodyLength, braces, lineLength, tabs, lineEnds]

  static let maxFileLines = 500
  static let maxMedianLines = 180
  static let maxBodyLines = 60
  static let maxColumns = 100

  static let fileLength = Rule(
    "a Swift file has at most \(maxFileLines) lines", where: \.isSwift
  ) { file in
    guard file.lines.count > maxFileLines else { return [] }
    return [file.problem(0, "\(file.lines.count) lines, over \(maxFileLines): split its subject")]
  }

  static let median = Rule(
    "the median file of a module has at most \(maxMedianLines) lines"
  ) { files in
    Dictionary(grouping: files.filter(\.isEngine)) { $0.module ?? "" }
      .sorted { $0.key < $1.key }
      .compactMap { module, files in
        let counts = files.map(\.lines.count).sorted()
        let median = counts[(counts.count - 1) / 2]
        guard median > maxMedianLines else { return nil }
        let message = "median of its files is \(median) lines, over \(maxMedianLines)"
        return Problem(path: "Sources/\(module)", line: 0, message: message)
      }
  }

  static let bodyLength = Rule(
    "a function's body has at most \(maxBodyLines) lines", where: \.isSwift
  ) { file in
    file.functionBodies.filter { $0.lineCount > maxBodyLines }.map {
      file.problem($0.line, "body of \($0.name): \($0.lineCount) lines, over \(maxBodyLines)")
    }
  }

  static let braces = Rule("every brace has its partner", where: \.isSwift) { file in
    file.unbalancedBrace.map {
      [file.problem($0.line, "a brace without partner: the tidy scanner cannot read this file")]
    } ?? []
  }

  static let lineLength = Rule(
    "a line of Swift has at most \(maxColumns) columns", where: \.isSwift
  ) { file in
    file.lines.enumerated().compactMap { index, line in
      guard line.utf8.count > maxColumns, line.count > maxColumns else { return nil }
      return file.problem(index + 1, "\(line.count) columns, over \(maxColumns)")
    }
  }

  static let tabs = Rule("a Swift file has no tabs", where: \.isSwift) { file in
    file.lines.enumerated().compactMap { index, line in
      line.utf8.contains(9) ? file.problem(index + 1, "a tab: indent with two spaces") : nil
    }
  }

  static let lineEnds = Rule(
    "no line ends in white space, and the last one ends", where: \.isWrittenByHand
  ) { file in
    var problems = file.lines.enumerated().compactMap { index, line -> Problem? in
      guard let last = line.utf8.last, last == 0x20 || last == 0x09 || last == 0x0d else {
        return nil
      }
      return file.problem(index + 1, "white space at the end of the line")
    }
    if !file.text.isEmpty && file.text.utf8.last != 0x0a {
      problems.append(file.problem(file.lines.count, "no newline at the end of the file"))
    }
    return problems
  }
}

extension SourceFile {
  /// Whether people write the file: not data that a tool made.
  fileprivate var isWrittenByHand: Bool {
    ["swift", "md", "sh", "h", "modulemap", "yml", ""].contains(fileExtension)
  }
}
