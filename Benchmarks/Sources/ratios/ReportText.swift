internal import Foundation

/// A report for people.
enum ReportText {
  /// What stands above the rows.
  static func head(_ machine: Machine) -> String {
    """
    \(machine.processor), \(machine.processorCount) processors, \(machine.caches)
    \(machine.system), load average \(machine.load)
    Times are medians (minima in brackets). "×" is the median over the rounds of lamina's time
    divided by the yardstick's. Peers: their median divided by lamina's; above 1, lamina is faster.
    """
  }

  /// The column titles of a suite.
  static func title(_ suite: String, _ detail: String) -> String {
    "\n\(suite): \(detail)\n"
      + columns("operation", "subject", "lamina", "a unit", "×", "bar", "peers")
  }

  /// One row.
  static func line(_ row: Row) -> String {
    guard let ours = row.ours else { return columns(row.operation, row.subject, verdict(row)) }
    let perUnit =
      row.unitCount > 1
      ? "\(duration(ours.median / Double(row.unitCount)))/\(row.unit)" : ""
    return columns(
      row.operation, row.subject, "\(duration(ours.median)) (\(duration(ours.minimum)))", perUnit,
      "\(number(ours.ratio)) \(row.yardstick)", verdict(row), peers(row, ours))
  }

  /// What stands below a row whose contenders are programs.
  static func memoryLine(_ row: Row) -> String? {
    guard let memory = row.peakMemoryBytes, !memory.isEmpty else { return nil }
    let own = Machine.peakMemoryBytes
    let parts = row.figures.compactMap { figure in
      memory[figure.name].map { bytes in
        "\(figure.name) \(bytes <= own ? "at most " : "")\(bytes >> 20) MiB"
      }
    }
    return "  peak memory: " + parts.joined(separator: ", ")
  }

  private static func verdict(_ row: Row) -> String {
    guard let verdict = row.verdict else { return "" }
    let sign = verdict.isFloor ? "≥" : "≤"
    return "\(number(verdict.figure)) \(sign) \(number(verdict.limit)) \(verdict.unit): "
      + (verdict.isMet ? "met" : "MISSED")
  }

  private static func peers(_ row: Row, _ ours: Figure) -> String {
    row.figures.filter { $0.name != ours.name && $0.name != row.yardstick }.map {
      "\($0.name) \(number($0.median / max(ours.median, 0.01)))×"
    }.joined(separator: ", ")
  }

  private static func columns(_ cells: String...) -> String {
    let widths = [20, 14, 22, 16, 16, 30, 0]
    var line = ""
    for (cell, width) in zip(cells, widths) {
      line += cell + String(repeating: " ", count: max(1, width - cell.count))
    }
    return line.trimmingCharacters(in: .whitespaces)
  }

  /// How many bars are met.
  static func tail(_ rows: [Row]) -> String {
    let verdicts = rows.compactMap(\.verdict)
    let missed = rows.filter { $0.verdict?.isMet == false }.map { "\($0.operation) \($0.subject)" }
    let met = "\n\(verdicts.count - missed.count) of \(verdicts.count) bars met"
    return met + (missed.isEmpty ? "" : "; missed: " + missed.joined(separator: ", "))
      + "; load average now \(Machine.loadAverage)"
  }

  /// Nanoseconds with three digits and a fitting unit.
  static func duration(_ nanoseconds: Double) -> String {
    switch nanoseconds {
    case ..<1e3: "\(number(nanoseconds)) ns"
    case ..<1e6: "\(number(nanoseconds / 1e3)) µs"
    case ..<1e9: "\(number(nanoseconds / 1e6)) ms"
    default: "\(number(nanoseconds / 1e9)) s"
    }
  }

  /// A number with about three digits.
  static func number(_ value: Double) -> String {
    let digits = value >= 100 || value == 0 ? 0 : value >= 10 ? 1 : 2
    return String(format: "%.\(digits)f", value)
  }
}
