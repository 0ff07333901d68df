/// Two runs side by side.
enum ReportComparison {
  /// What changed since `saved`, by the yardsticks where there are some, since the machine may have
  /// another pace.
  static func text(_ now: Report, since saved: Report) -> String {
    let old = Dictionary(saved.rows.map { ($0.key, $0) }, uniquingKeysWith: { $1 })
    var lines = ["\nSince the saved run (load average \(saved.machine.load)):"]
    if saved.machine.processor != now.machine.processor {
      lines.append("another processor: \(saved.machine.processor)")
    }
    for row in now.rows {
      guard let ours = row.ours, let before = old[row.key], let theirs = before.ours else {
        continue
      }
      let isComparable = row.unitCount == before.unitCount && theirs.ratio > 0
      let change = isComparable ? ours.ratio / theirs.ratio : 0
      let times = "\(ReportText.duration(theirs.median)) → \(ReportText.duration(ours.median))"
      let note =
        isComparable
        ? "× \(ReportText.number(change)) by the yardstick" + (change > 1.25 ? "  SLOWER" : "")
        : "another workload"
      lines.append("\(row.key): \(times), \(note)")
    }
    return lines.joined(separator: "\n")
  }
}
