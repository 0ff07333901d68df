/// Rules about what must stand beside what.
enum TreeRules {
  static let all = [readMe, mutants]

  static let readMe = Rule("every module of Swift has a README.md") { files in
    let modules = Set(files.filter(\.isEngine).compactMap(\.module))
    let pages = Set(files.map(\.path))
    return modules.sorted().map { "Sources/\($0)/README.md" }.filter { !pages.contains($0) }.map {
      Problem(path: $0, line: 0, message: "missing: what is here, where to start, what it imports")
    }
  }

  static let mutantList = "Tests/mutants.txt"

  /// A planted bug is code between `#if MUTANT_NAME` and `#endif`; the list says which suite
  /// catches it.
  static let mutants = Rule("every planted bug is in the list, and every line has its bug") {
    files in
    var planted: [String: Problem] = [:]
    for file in files where file.isEngine {
      for token in file.code where token.kind == .word && token.text.hasPrefix("MUTANT_") {
        planted[token.text] = file.problem(token.line, "\(token.text) is not in \(mutantList)")
      }
    }
    var problems: [Problem] = []
    for list in files where list.path == mutantList {
      for (index, line) in list.lines.enumerated() where !line.hasPrefix("#") {
        let fields = line.split(separator: " ")
        guard let name = fields.first else { continue }
        if fields.count != 2 || !name.hasPrefix("MUTANT_") {
          problems.append(list.problem(index + 1, "write MUTANT_NAME and one filter of tests"))
        } else if planted.removeValue(forKey: String(name)) == nil {
          problems.append(list.problem(index + 1, "no source has `#if \(name)`"))
        }
      }
    }
    return problems + planted.values.sorted { $0.path < $1.path }
  }
}
