internal import Execution
internal import Primitives
internal import Synchronization

/// One line that says how far long work is: redrawn on a terminal, never when output is piped.
///
/// With `-p`, qemu-img's form on standard output, which scripts parse: `    (12.34/100%)`.
///
/// That form begins with `(0.00/100%)`, when the work begins, and its line is ended even where the
/// work never did.
final class ProgressLine: Sendable {
  private let console: Console
  private let total: Int
  private let asQemu: Bool
  private let isOn: Bool
  private let start: WorldInstant?
  private let shown = Mutex((permyriad: -1, lastNanoseconds: UInt64(0)))

  /// A line about work on `total` bytes, where `update` does not say of how many.
  init(_ console: Console, total: Int, asQemu: Bool, isQuiet: Bool) {
    self.console = console
    self.total = total
    self.asQemu = asQemu
    isOn = !isQuiet && (asQemu || console.showsProgress)
    start = World.current?.now
  }

  /// Says that the work begins.
  func begin() { if asQemu { show(0, 1) } }

  /// Says that `done` bytes are done.
  func update(_ done: Int) { update(done, of: total) }

  /// Says that `done` bytes of `total` are done.
  func update(_ done: Int, of total: Int) { if total > 0 { show(done, total) } }

  private func show(_ done: Int, _ total: Int) {
    guard isOn else { return }
    let permyriad = Int(Double(done) / Double(total) * 10000)
    let isNews = shown.withLock { shown in
      guard permyriad != shown.permyriad else { return false }
      shown.permyriad = permyriad
      return true
    }
    guard isNews else { return }
    if asQemu {
      console.write("    (\(hundredths(permyriad))/100%)\r")
    } else {
      console.writeError("\r\(line(done, total, permyriad))\u{1b}[K")
    }
  }

  /// Takes the line away, or ends it.
  func finish() {
    guard isOn else { return }
    if asQemu {
      console.write("    (100.00/100%)\r\n")
    } else {
      console.writeError("\r\u{1b}[K")
    }
  }

  /// Takes the line away, or ends it; the work has failed, or did not begin.
  func abandon() {
    guard isOn else { return }
    if asQemu { console.write("\n") } else { console.writeError("\r\u{1b}[K") }
  }

  private func line(_ done: Int, _ total: Int, _ permyriad: Int) -> String {
    var text = "\(hundredths(permyriad)) %  \(ByteSize.describe(done))"
    guard let start, let now = World.current?.now else { return text }
    let seconds = Double(now.nanoseconds &- start.nanoseconds) / 1e9
    guard seconds > 0.2, done > 0 else { return text }
    let rate = Double(done) / seconds
    text += "  \(ByteSize.describe(Int(rate)))/s"
    let left = Int(Double(total - done) / rate)
    return text + "  \(left / 60):\(left % 60 < 10 ? "0" : "")\(left % 60) left"
  }

  private func hundredths(_ permyriad: Int) -> String {
    let fraction = permyriad % 100
    return "\(permyriad / 100).\(fraction < 10 ? "0" : "")\(fraction)"
  }
}
