internal import DirtyBitmap
internal import Primitives

/// A picture of a bitmap: the disk from left to right and from top to bottom, a cell for an equal
/// piece of it, darker where more of it is dirty.
struct DirtyMap {
  /// The picture, a legend and totals.
  let lines: [String]

  /// Draws at most 16 rows of `columns` cells.
  init(_ bitmap: DirtyBitmap, columns: Int) {
    let size = bitmap.size
    let width = max(columns - 2, 8)
    let granules = max(size.dividedRoundingUp(by: bitmap.granularity), 1)
    let cells = min(width * 16, granules)
    let cellBytes = granules.dividedRoundingUp(by: cells) * bitmap.granularity
    var dirty = [Int](repeating: 0, count: max(size, 1).dividedRoundingUp(by: cellBytes))
    let runs = bitmap.runs
    for run in runs {
      for cell in run.lower / cellBytes...(run.upper - 1) / cellBytes {
        dirty[cell] += ByteRange(offset: cell * cellBytes, count: cellBytes).intersection(run).count
      }
    }
    let shades = dirty.map { count in
      count == 0
        ? "·"
        : count * 4 <= cellBytes
          ? "░"
          : count * 2 <= cellBytes
            ? "▒"
            : count < cellBytes ? "▓" : "█"
    }
    var lines: [String] = []
    var start = 0
    while start < shades.count {
      let row = shades[start..<min(start + width, shades.count)]
      lines.append("│" + row.joined() + String(repeating: " ", count: width - row.count) + "│")
      start += width
    }
    let bar = String(repeating: "─", count: width)
    let total = runs.reduce(0) { $0 + $1.count }
    let percent = size == 0 ? 0 : Double(total) / Double(size) * 100
    let hundredths = Int((percent * 100).rounded())
    self.lines =
      ["┌" + bar + "┐"] + lines + [
        "└" + bar + "┘",
        "one cell \(ByteSize.describe(cellBytes)): · clean, ░ up to a quarter, ▒ up to a half, "
          + "▓ more, █ all dirty",
        "\(bitmap.name ?? ""): \(ByteSize.describe(total)) of \(ByteSize.describe(size)) dirty "
          + "(\(hundredths / 100).\(hundredths % 100 < 10 ? "0" : "")\(hundredths % 100) %) in "
          + "\(runs.count) runs, granularity \(ByteSize.describe(bitmap.granularity))",
      ]
  }
}
