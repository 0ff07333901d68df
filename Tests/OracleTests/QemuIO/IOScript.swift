import Execution

/// A run of qemu-io: its options, and commands that grow by chance.
struct IOScript {
  let kind: IOZoo.Kind
  /// Where the image is, and what stands beside it, with a slash at its end.
  let folder: String
  let image: String
  /// The name by which the program is given it.
  var name: String
  private(set) var random: SeededGenerator
  /// The program's options.
  private(set) var options: [String] = []
  private(set) var commands: [String] = []
  /// Whether the commands come by standard input.
  private(set) var isInput = false
  /// Whether requests may be under way while others are reported.
  private(set) var isUnordered = false
  /// Whether requests begin and end with sectors.
  var isSectored = false
  /// The size that the disk should have by now.
  var size: Int

  init(_ kind: IOZoo.Kind, in folder: String, _ random: SeededGenerator) {
    (self.kind, self.folder, self.random) = (kind, folder, random)
    image = folder + "disk"
    name = image
    size = kind.size
  }

  // MARK: - Chance

  /// True once in `count` times.
  mutating func chance(_ count: Int) -> Bool { Int.random(in: 0..<count, using: &random) == 0 }

  mutating func pick<Value>(_ values: [Value]) -> Value {
    values[Int.random(in: 0..<values.count, using: &random)]
  }

  mutating func add(_ command: String) { commands.append(command) }
  mutating func add(option words: String...) { options += words }

  /// A command that begins requests, or waits for some.
  mutating func addUnordered(_ command: String) {
    isUnordered = true
    commands.append(command)
  }

  // MARK: - Places

  /// An offset and a length of which most lie within the disk.
  mutating func range(longest: Int? = nil) -> (offset: Int, count: Int) {
    let cluster = kind.cluster
    let unit = pick([isSectored ? 512 : 1, 512, 512, 4096, cluster, cluster])
    let count = min(pick([1, 2, 3, 7]) * unit, isSectored ? 1 << 20 : longest ?? 1 << 20)
    if chance(15), !isSectored { return (max(0, size - pick([0, 1, 512, count])), count) }
    let room = max(1, (size - count) / unit)
    return (Int.random(in: 0..<room, using: &random) * unit, count)
  }

  /// A number, in one of its spellings.
  mutating func number(_ value: Int) -> String {
    if chance(40) { return pick(Self.wrongNumbers) }
    if value % 1024 == 0, chance(3) { return "\(value / 1024)k" }
    if value % (1 << 20) == 0, chance(3) { return "\(value >> 20)M" }
    if value % 512 == 0, value < 1 << 20, chance(12) { return "\(Double(value) / 1024)k" }
    return chance(8) ? "0x\(String(value, radix: 16))" : "\(value)"
  }

  private static let wrongNumbers = [
    "x", "-1", "1.5", "3g", "7E", "8E", "1kk", "0x", "1e3", "512s", "9223372036854775808", "''",
    "2147483137", "+512", "1.k", "0x10k", "--", "-",
  ]

  mutating func pattern() -> String {
    if chance(30) { return pick(["256", "x", "-1", "0x", "1k", "0400"]) }
    let byte = Int.random(in: 0...255, using: &random)
    return chance(4) ? "0x\(String(byte, radix: 16))" : "\(byte)"
  }

  // MARK: - Growing

  /// Gives the program its options.
  mutating func addOptions() {
    // We write no data file of an image whose format was guessed.
    if kind.hasDataFile || !chance(12) {
      options += pick([["-f", kind.format], ["-f\(kind.format)"]])
    }
    if chance(12) { options += [pick(["-r", "--read-only"])] }
    if chance(14) { options += [pick(["-s", "--snapshot"])] }
    if chance(6) {
      options += [
        "-t", pick(["none", "writeback", "writethrough", "unsafe", "directsync", "off", "x"]),
      ]
    }
    if chance(30) { options += ["-n"] }
    if chance(8) { options += ["-d", pick(["ignore", "unmap", "off", "on", "x"])] }
    if chance(25) { options += ["-U"] }
    if chance(20) { options += [pick(["-C", "--copy-on-read"])] }
    if chance(40) { options += ["-m"] }
    if chance(40) { options += ["-i", pick(["threads", "native", "x"])] }
    if chance(40) { options += ["-k"] }
    if chance(60) { options += pick([["-Z"], ["--nosuch"], ["-c"], ["--re"], ["more"]]) }
    isInput = chance(5)
  }

  /// A request's own options.
  private mutating func flags(_ letters: [String], _ times: Int) -> String {
    letters.filter { _ in chance(times) }.map { " " + $0 }.joined()
  }

  mutating func addRead() {
    let (offset, count) = range(longest: chance(4) ? 40 : nil)
    var words = pick(["read", "r", "read"]) + flags(["-C", "-q", "-p"], 10)
    if count <= 600, chance(3) { words += " -v" }
    if chance(3) {
      words += " -P " + pattern()
      if chance(4) { words += " -s " + number(pick([0, 1, count / 2, count, count + 1])) }
      if chance(4) { words += " -l " + number(pick([0, 1, count / 2, count, count + 1])) }
    }
    add(words + " \(number(offset)) \(number(count))")
  }

  mutating func addWrite() {
    var (offset, count) = range()
    var words = pick(["write", "w", "write"]) + flags(["-C", "-q", "-p", "-f"], 10)
    switch Int.random(in: 0..<8, using: &random) {
    case 0, 1: words += " -P " + pattern()
    case 2, 3:
      words += pick([" -z", " -zu", " -uz", " -z -u"])
      // We write zeros into parts of sectors as data, and whatever fills no cluster in spite of -n.
      (offset, count) = (offset / 512 * 512, (count + 511) / 512 * 512)
      if chance(4), !kind.options.contains("0.10") {
        words += " -n"
        let unit = kind.cluster
        (offset, count) = (offset / unit * unit, (count + unit - 1) / unit * unit)
      }
    case 4: words += " -s " + folder + pick(["pattern", "pattern", "nothing", "nosuch"])
    default: break
    }
    words += flags(["-u", "-n", "-z", "-P 3"], 60)
    add(words + " \(number(offset)) \(number(count))")
  }

  mutating func addCompressed() {
    // A second one in one opening damages the image with qemu-io 7.2, and one of a cluster that
    // has its place fails there and goes well with us.
    guard commands.isEmpty else { return addWrite() }
    let cluster = kind.cluster
    let offset = (size - 1) / cluster * cluster
    switch Int.random(in: 0..<5, using: &random) {
    case 0: add("write -c 1 512")
    case 1: add("write -c \(offset) 100")
    case 2: add("write -cf 0 512")
    default: add("write -c\(flags(["-q", "-P 7"], 3)) \(offset) \(min(cluster, size - offset))")
    }
  }

  mutating func addVector() {
    let (offset, count) = range()
    let part = isSectored ? 1536 : max(1, count / 3)
    let parts = (0..<pick([1, 2, 3])).map { _ in number(part) }
    let isRead = chance(2)
    var words = isRead ? "readv" : "writev"
    words += flags(isRead ? ["-C", "-q"] : ["-C", "-q", "-f"], 10)
    if chance(3) { words += " -P " + pattern() }
    if isRead, count <= 600, chance(3) { words += " -v" }
    add(words + " \(number(offset)) " + parts.joined(separator: " "))
  }

  /// Some requests at once, in places of their own, and a wait for them.
  mutating func addAsynchronous() {
    let unit = max(kind.cluster, 65536)
    let places = Array(0..<max(1, size / unit)).shuffled(using: &random).prefix(pick([1, 2, 3]))
    for place in places {
      var count = pick([512, 1, 4096, 3000])
      let offset = place * unit + pick([0, 512, 1024])
      let isRead = chance(2)
      let isZeroes = !isRead && chance(4)
      if isZeroes { count = (count + 511) / 512 * 512 }
      var words = isRead ? "aio_read" : "aio_write"
      words += flags(isRead ? ["-C", "-q"] : ["-C", "-q", "-f"], 10) + flags(["-i"], 30)
      if isZeroes {
        words += pick([" -z", " -zu"])
      } else if chance(3) {
        words += " -P " + pattern()
      }
      addUnordered(words + " \(number(offset)) \(number(count))")
    }
    if chance(3) { add(pick(["length", "info"])) }
    add("aio_flush")
  }

  mutating func addDiscard() {
    let (offset, count) = range()
    add(
      pick(["discard", "d"]) + flags(["-C", "-q"], 8) + " \(number(offset)) \(number(count))")
  }

  mutating func addTruncate() {
    // What an overlay hides when it grows, we hide as far as its backing file goes.
    let isOverlay =
      kind.hasBacking || options.contains { ["-s", "--snapshot"].contains($0) }
    let changes = [-65536, -512, 0] + (isOverlay ? [] : [512, 65536, 1 << 20, 1000])
    let new = max(512, size + pick(changes))
    // Neither tool preallocates parts of clusters like the other; through the host's cache alone.
    let isDirect = options.contains { ["-n", "none", "off", "directsync"].contains($0) }
    let isWhole = (size | new) % kind.cluster == 0
    let mode =
      isWhole && !isDirect && chance(2)
      ? "-m \(pick(["off", "falloc", "full", "metadata", "x"])) " : ""
    add(pick(["truncate", "t"]) + " \(mode)\(new)")
    if new % 512 == 0, kind.format == "raw" || mode.isEmpty { size = min(size, new) }
  }

  mutating func addInspection() {
    switch Int.random(in: 0..<6, using: &random) {
    case 0: add(pick(["length", "l"]))
    case 1: add(pick(["info", "i"]))
    case 2: add("map")
    case 3: add(pick(["flush", "f"]))
    default:
      let (offset, count) = range()
      let words = chance(2) ? " \(number(count))" : ""
      add(pick(["alloc", "a"]) + " \(number(offset))" + words)
    }
  }

  mutating func addOpening() {
    // qemu-io 7.2 does not find a temporary overlay again.
    // And it names a node of its own where it keeps what it reads.
    let others = ["-s", "--snapshot", "-C", "--copy-on-read"]
    if options.contains(where: { others.contains($0) }) { return addInspection() }
    switch Int.random(in: 0..<8, using: &random) {
    case 0: add("reopen" + flags(["-r", "-w", "-c writeback", "-c x", "-o discard=unmap"], 3))
    case 1: add("reopen -r"); add("write -q 0 512"); add("reopen -w")
    case 2: add("close"); add("length"); add("open -o driver=\(kind.format) \(image)")
    case 3:
      let format = kind.hasDataFile ? " -o driver=qcow2" : ""
      add("close")
      add("open\(format)\(flags(["-r", "-s", "-U", "-n", "-q"], 4)) \(image)")
    case 4: add("open -o driver=\(kind.format) \(image)")
    case 5: add("c"); add("o -r -o driver=\(kind.format),file.filename=\(image)"); add("w 0 1")
    case 6: add("close"); add(pick(["open", "open -r", "open -t x \(image)", "open nosuch"]))
    default: add("sleep \(pick(["0", "1", "x", "-1"]))")
    }
  }

  mutating func addMistake() {
    add(pick(Self.mistakes))
  }

  private static let mistakes = [
    "read", "read 0", "read -Z 0 1", "read 0 1 2", "read -P", "read -P 1", "read -s 0 0 1",
    "write", "write 0", "write -v 0 1", "write -fc 0 512", "write -u 0 1", "write -zP 1 0 1",
    "write -b 1 1", "discard", "discard 0 1 2", "discard -z 0 1", "flush 1", "length 1",
    "info 1", "map 1", "alloc", "alloc 0 1 2", "truncate", "truncate x", "truncate -Z 1",
    "aio_read", "aio_write -zP 1 0 1 2", "aio_write -u 0 1", "aio_flush 1", "readv 0", "writev -z",
    "break", "break x", "break x y", "resume", "resume x", "remove_break x", "wait_break",
    "reopen x", "reopen -r -w", "sigraise", "sigraise 0", "sigraise x", "sigraise 99", "sleep",
    "abort 1", "nosuch", "help nosuch", "help a b", "help", "?", "", "   ", "open", "close 1",
    "quit", "-q", "R 0 1", "read\t0 1", "help length", "help q", "help map",
  ]
}
