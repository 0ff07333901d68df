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
  fileprivate mutating func addRules() throws {
    let isRaw = kind.format == "raw"
    let events =
      ["read_aio", "write_aio", "flush_to_os", "flush_to_disk", "pwritev", "none"]
      + (isRaw ? [] : ["cluster_alloc", "l2_update", "l2_alloc_write", "cow_read", "cow_write"])
    var text = "# Rules.\n"
    for _ in 0..<pick([0, 1, 1, 2]) {
      text += "[set-state]\nevent = \"\(pick(events))\"\n"
      if chance(2) { text += "state = \"\(pick([1, 2, 3]))\"\n" }
      text += "new_state = \"\(pick([1, 2, 3]))\"\n\n"
    }
    for _ in 0..<pick([1, 1, 2]) {
      text += "[inject-error]\nevent = \"\(pick(events))\"\n"
      if chance(2) { text += "state = \"\(pick([0, 1, 2, 3]))\"\n" }
      if chance(2) { text += "errno = \"\(pick([5, 28, 1, 22, 110]))\"\n" }
      if isRaw, chance(3) { text += "sector = \"\(pick([0, 1, 8, 100]))\"\n" }
      if chance(2) { text += "once = \"on\"\n" }
      if chance(3) { text += "immediately = \"on\"\n" }
      if isRaw, chance(4) { text += "iotype = \"\(pick(["read", "write", "flush"]))\"\n" }
    }
    let path = folder.replacingOccurrences(of: "/work/", with: "/rules")
    try Data(text.utf8).write(to: URL(filePath: path))
    add(option: "-f", kind.format)
    if chance(3) { add(option: "-t", "writeback") }
    name = "blkdebug:\(path):\(image)"
  }

  /// A request that stops at a breakpoint, what others do meanwhile, and its end.
  fileprivate mutating func addStop(_ number: Int) {
    let unit = max(kind.cluster, 65536)
    let places = Array(0..<max(1, size / unit)).map { $0 * unit }
    let place = pick(places)
    let isRead = chance(3)
    let events = isRead ? ["read_aio"] : ["write_aio", "flush_to_os"]
    let event = kind.format == "raw" ? pick(events) : pick(isRead ? [] : events)
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
