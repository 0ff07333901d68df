internal import Primitives
internal import Qcow2

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// The internal snapshots of an image, as `qemu-img info` shows them.
struct SnapshotList {
  let snapshots: [SnapshotTableEntry]

  // MARK: - Human

  /// A heading, and a line each; nothing where there are none.
  var lines: [String] {
    if snapshots.isEmpty { return [] }
    let heading = row("ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT")
    return ["Snapshot list:", heading] + snapshots.map(line)
  }

  private func line(_ snapshot: SnapshotTableEntry) -> String {
    row(
      "\(snapshot.id)", "\(snapshot.name)", ByteSize.describe(vmStateSize(snapshot)),
      Self.date(snapshot.seconds), Self.clock(snapshot.guestClockNanoseconds),
      instructionCount(snapshot).map { String($0) } ?? "")
  }

  private func row(
    _ id: String, _ tag: String, _ size: String, _ date: String, _ clock: String, _ count: String
  ) -> String {
    left(id, 9) + " " + left(tag, 16) + " " + right(size, 8) + right(date, 20) + right(clock, 13)
      + right(count, 11)
  }

  private func left(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.utf8.count))
  }

  private func right(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.utf8.count)) + text
  }

  /// The local time, as the corresponding C functions `localtime_r` and `strftime` have it.
  private static func date(_ seconds: UInt32) -> String {
    var time = time_t(seconds)
    var parts = tm()
    localtime_r(&time, &parts)
    var text = [CChar](repeating: 0, count: 32)
    let count = strftime(&text, text.count, "%Y-%m-%d %H:%M:%S", &parts)
    return String(decoding: text.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  private static func clock(_ nanoseconds: UInt64) -> String {
    let seconds = nanoseconds / 1_000_000_000
    func padded(_ value: UInt64, _ width: Int) -> String {
      let digits = String(value)
      return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
    return padded(seconds / 3600, 2) + ":" + padded(seconds / 60 % 60, 2) + ":"
      + padded(seconds % 60, 2) + "." + padded(nanoseconds / 1_000_000 % 1000, 3)
  }

  // MARK: - JSON

  /// An object each, in the order of qemu's keys.
  var json: JSONText {
    .array(
      snapshots.map { snapshot in
        var fields: [(String, JSONText)] = []
        if let count = instructionCount(snapshot) { fields.append(("icount", .number(count))) }
        let clock = snapshot.guestClockNanoseconds
        return .object(
          fields + [
            ("vm-clock-nsec", .number(Int(clock % 1_000_000_000))),
            ("name", .string("\(snapshot.name)")), ("date-sec", .number(Int(snapshot.seconds))),
            ("date-nsec", .number(Int(snapshot.nanoseconds))),
            ("vm-clock-sec", .number(Int(clock / 1_000_000_000))),
            ("id", .string("\(snapshot.id)")),
            ("vm-state-size", .number(vmStateSize(snapshot))),
          ])
      })
  }

  private func vmStateSize(_ snapshot: SnapshotTableEntry) -> Int {
    Int(clamping: snapshot.vmStateByteCount)
  }

  /// Nil where it was not recorded: all ones say that too.
  private func instructionCount(_ snapshot: SnapshotTableEntry) -> Int? {
    snapshot.instructionCount.flatMap { $0 == .max ? nil : Int(clamping: $0) }
  }
}
