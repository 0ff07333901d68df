import Foundation
import QEMUTools
import Testing

/// Scripts over blkdebug, beside the real qemu-io: errors that a configuration injects, states, and
/// breakpoints.
@Suite(.serialized, .enabled(if: IOOracle.canRun, "\(QEMUTools.absence)"))
struct QemuIOBlkdebugTests {
  @Test(arguments: 0..<(Oracle.isLong ? 200 : 5))
  func injectedErrorsAreMetAsInQemuIO(seed: Int) throws {
    try IOOracle.compare(seed: seed, label: "errors", kinds: Self.kinds, mayLeak: true) { script in
      try script.addRules()
      for _ in 0..<script.pick([2, 4, 7]) {
        switch script.pick(Array(0..<10)) {
        case 0...2: script.addRead()
        case 3...6: script.addWrite()
        case 7: script.addDiscard()
        case 8: script.add("flush")
        default: script.addVector()
        }
      }
    }
  }

  @Test(arguments: 0..<(Oracle.isLong ? 200 : 5))
  func requestsStopAndGoOnAsInQemuIO(seed: Int) throws {
    try IOOracle.compare(seed: seed, label: "breakpoints", kinds: Self.kinds) { script in
      script.add(option: "-f", script.kind.format)
      script.name = "blkdebug::\(script.image)"
      for number in 0..<script.pick([1, 2, 3]) { script.addStop(number) }
      if script.chance(2) { script.add("map") }
    }
  }

  /// Images whose requests reach their file alone.
  private static let kinds = IOZoo.kinds.filter { !$0.hasDataFile && !$0.isCompressed }
}

extension IOScript {
  /// Writes a configuration, and has the program open the image through it.
  ///
  /// Its errors are those of data, and not of flushes, nor of qcow2's metadata: when that is
  /// written is each tool's own affair, and after a failed flush we write nothing more.
  fileprivate mutating func addRules() throws {
    // Our qcow2 node reads the rest of a sector that is written.
    isSectored = kind.format == "qcow2"
    var text = "# Rules.\n"
    let states = ["read_aio", "write_aio", "flush_to_os", "flush_to_disk"]
    for _ in 0..<pick([0, 1, 1, 2]) {
      text += "[set-state]\nevent = \"\(pick(states))\"\n"
      if chance(2) { text += "state = \"\(pick([1, 2, 3]))\"\n" }
      text += "new_state = \"\(pick([1, 2, 3]))\"\n\n"
    }
    if kind.format == "raw" {
      for _ in 0..<pick([1, 1, 2]) { text += rawRule() }
    } else {
      text += dataRule()
    }
    let path = folder.replacingOccurrences(of: "/images/", with: "/rules")
    try Data(text.utf8).write(to: URL(filePath: path))
    add(option: "-f", kind.format)
    if chance(3) { add(option: "-t", "writeback") }
    name = "blkdebug:\(path):\(image)"
  }

  private mutating func rawRule() -> String {
    let events = [
      "read_aio", "write_aio", "flush_to_os", "flush_to_disk", "pwritev", "pwritev_zero",
      "pwritev_done", "none", "l2_load",
    ]
    var text = "[inject-error]\nevent = \"\(pick(events))\"\n"
    text += "iotype = \"\(pick(["read", "write", "write-zeroes", "discard"]))\"\n"
    if chance(3) { text += "sector = \"\(pick([0, 1, 8, 100]))\"\n" }
    if chance(2) { text += "once = \"on\"\n" }
    return text + common()
  }

  private mutating func dataRule() -> String {
    let event = pick(["read_aio", "write_aio"])
    let type = event.contains("read") ? "read" : "write"
    return "[inject-error]\nevent = \"\(event)\"\niotype = \"\(type)\"\nonce = \"on\"\n"
      + common()
  }

  private mutating func common() -> String {
    var text = ""
    if chance(2) { text += "state = \"\(pick([0, 1, 2, 3]))\"\n" }
    if chance(2) { text += "errno = \"\(pick([5, 28, 1, 22, 110]))\"\n" }
    if chance(3) { text += "immediately = \"on\"\n" }
    return text
  }

  /// A request that stops at a breakpoint, what others do meanwhile, and its end.
  fileprivate mutating func addStop(_ number: Int) {
    let unit = max(kind.cluster, 65536)
    let places = Array(0..<max(1, size / unit)).map { $0 * unit }
    let place = pick(places)
    // What is not allocated is not read from the file.
    let isRead = kind.format == "raw" && chance(3)
    let event = isRead ? "read_aio" : pick(["write_aio", "flush_to_os"])
    let tag = "T\(number)"
    if chance(5) { add("break \(pick([event, "nosuch"])) other\(number)") }
    add("break \(event) \(tag)")
    addUnordered((isRead ? "aio_read" : "aio_write") + " \(place) 512")
    add("wait_break \(tag)")
    if chance(2) { add(pick(["length", "resume nosuch", "remove_break nosuch", "info"])) }
    if chance(3), let other = places.first(where: { $0 != place }) {
      add("read \(other) 512")
    }
    add(chance(4) ? "remove_break \(tag)" : "resume \(tag)")
    add("remove_break other\(number)")
    if chance(3) { add("resume other\(number)") }
    add("aio_flush")
  }
}
