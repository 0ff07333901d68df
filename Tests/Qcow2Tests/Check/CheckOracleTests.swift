import BlockLayer
import Execution
import Foundation
import Primitives
import QEMUTools
import Qcow2
import Testing

/// Checks beside those of `qemu-img check` (7.2), over images that it made, sound and damaged.
///
/// What agrees: leaks, corruptions, statistics, the class of the result. What we find beyond it,
/// and where we do not follow what it follows, is taken out by name.
@Suite(.enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)")) struct CheckOracleTests {
  /// What `qemu-img create -o` is asked for, and whether the image gets snapshots.
  static let kinds: [(options: String, hasSnapshots: Bool)] = [
    ("cluster_size=4096", false), ("cluster_size=4096", true),
    ("cluster_size=512,refcount_bits=64", true), ("cluster_size=1024,refcount_bits=1", false),
    ("cluster_size=512,refcount_bits=2", false), ("cluster_size=65536,refcount_bits=8", true),
    ("cluster_size=4096,compat=0.10", true), ("cluster_size=4096,preallocation=metadata", false),
  ]

  @Test(arguments: kinds.indices)
  func soundAndDamagedImagesAreJudgedAlike(kind: Int) async throws {
    let folder = try ScratchFolder()
    let base = folder.file("base.qcow2")
    try Self.make(base, Self.kinds[kind])
    let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: base)))
    try await compare(bytes, folder, "sound")
    var random = SeededGenerator(seed: UInt64(kind))
    for round in 0..<25 {
      let damage = Damage(bytes, using: &random)
      try await compare(damage.bytes, folder, "round \(round): \(damage.text)")
    }
  }

  static func make(
    _ path: String, _ kind: (options: String, hasSnapshots: Bool)
  ) throws {
    try QEMUTools.run("qemu-img", ["create", "-q", "-f", "qcow2", "-o", kind.options, path, "3M"])
    func io(_ commands: String...) throws {
      try QEMUTools.run("qemu-io", ["-f", "qcow2"] + commands.flatMap { ["-c", $0] } + [path])
    }
    try io(
      "write 0 100k", "write 700k 300k", "write -z 200k 64k", "write -c 1M 64k", "discard 0 4k")
    guard kind.hasSnapshots else { return }
    try QEMUTools.run("qemu-img", ["snapshot", "-c", "one", path])
    try io("write 750k 60k")
    try QEMUTools.run("qemu-img", ["snapshot", "-c", "two", path])
    if !kind.options.contains("compat=0.10") {
      try QEMUTools.run("qemu-img", ["bitmap", "--add", "-g", "4096", path, "b"])
      try io("write 2M 60k")
    }
  }

  private func compare(
    _ bytes: [UInt8], _ folder: ScratchFolder, _ what: String
  ) async throws {
    let path = folder.file("image.qcow2")
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    let theirs = try QemuImg.check(path)
    let ours: ImageCheck
    do {
      ours = try await Self.check(bytes)
    } catch {
      // What our opening refuses beyond QEMU's is a matter of the format's own tests.
      return
    }
    guard let judged = theirs.result else {
      #expect(!ours.isClean || theirs.status == 1, "\(what)")
      return
    }
    let view = OracleView(ours)
    #expect(view.status == theirs.status, "\(what): \(ours.messages.prefix(9))")
    guard !view.isIncomparable else { return }
    #expect(view.check == judged, "\(what): \(ours.messages.prefix(9))")
  }

  private static func check(_ bytes: [UInt8]) async throws -> ImageCheck {
    let world = World.simulated(seed: 1)
    return try await world.run { () async throws -> ImageCheck in
      let disk = MemoryDriver(length: bytes.count)
      let graph = DamagedImage.makeGraph(in: world)
      let file = try graph.addNode(disk, name: "file")
      try await file.write(ByteRange(0, bytes.count), from: bytes.span.bytes)
      var options = OpenOptions(format: "qcow2", readOnly: true)
      options.isForCheck = true
      let node = try await graph.open(file: file, options)
      guard let driver = node.driver as? any CheckableImage else { throw BlockError(.io, "") }
      return try await driver.check()
    }
  }
}

/// A result of ours as `qemu-img check` would have it.
private struct OracleView {
  var check = QemuImg.Check()
  var status: Int32 = 0
  /// Whether an L1 entry leads where QEMU goes on and we do not.
  var isIncomparable = false

  /// What only we find.
  private static let beyond = [
    "overlaps with", "its copied flag set",
    "zero cluster in an image of version 2", "ERROR bitmap",
  ]

  init(_ result: ImageCheck) {
    check.leaks = result.leaks
    check.corruptions = result.corruptions
    for finding in result.findings {
      let text = finding.message
      if text.hasPrefix("Leaked clusters behind") {
        check.leaks -= Self.number(in: text, after: "file: ")
      } else if Self.beyond.contains(where: text.contains) {
        check.corruptions -= max(
          1, text.hasSuffix("times)") ? Self.number(in: text, after: " (") : 1)
      }
      if text.contains("Table is not cluster aligned") || text.contains("found L1 entry with")
        || text.contains("L1 entry without a table")
      {
        isIncomparable = true
      }
    }
    check.imageEndOffset = result.imageEndOffset
    check.totalClusters = result.totalClusters
    check.allocatedClusters = result.allocatedClusters
    check.fragmentedClusters = result.fragmentedClusters
    check.compressedClusters = result.compressedClusters
    let isCorrupt = isIncomparable ? result.corruptions > 0 : check.corruptions > 0
    status = result.checkErrors > 0 ? 1 : isCorrupt ? 2 : check.leaks > 0 ? 3 : 0
    // Only the findings that are kept can be taken out.
    if result.findings.count >= 10_000 { isIncomparable = true }
  }

  private static func number(in text: String, after mark: String) -> Int {
    guard let range = text.range(of: mark, options: .backwards) else { return 0 }
    return Int(text[range.upperBound...].prefix { $0.isNumber }) ?? 0
  }
}

/// An image with a few bytes of its tables changed, or cut short.
struct Damage {
  var bytes: [UInt8]
  var text = ""

  init(_ sound: [UInt8], using random: inout SeededGenerator) {
    bytes = sound
    let clusterBits = Int(sound[23])
    let l1 = Self.word(sound, 40)
    let block = Self.word(sound, Self.word(sound, 48))
    let table = Self.word(sound, l1) & 0x00ff_ffff_ffff_fe00
    let places = [(l1, 8), (table, 1 << clusterBits), (table, 128), (block, 128), (36, 4), (56, 4)]
    for _ in 0..<Int.random(in: 1...3, using: &random) {
      if Int.random(in: 0..<12, using: &random) == 0 {
        let count = Int.random(in: 512...bytes.count, using: &random)
        bytes.removeLast(bytes.count - count)
        text += " cut at \(count)"
        continue
      }
      guard let (start, count) = places.randomElement(using: &random) else { continue }
      let offset = start + Int.random(in: 0..<count / 4, using: &random) * 4
      let clusters = sound.count >> clusterBits
      let host = UInt64(Int.random(in: 0...clusters + 1, using: &random) << clusterBits)
      let flags: [UInt64] = [0, 1 << 63, 1 << 63, 1 << 62, 1, 1 << 62 | 77]
      let word = host | (flags.randomElement(using: &random) ?? 0)
      let isWord = count >= 8 && Bool.random(using: &random)
      let change = isWord ? DamagedImage.bytes(word) : [UInt8.random(in: 0...255, using: &random)]
      let place = isWord ? offset.roundedDown(to: 8) : offset
      for (index, byte) in change.enumerated() where place + index < bytes.count {
        bytes[place + index] = byte
      }
      text += " \(String(place, radix: 16))=\(change)"
    }
  }

  private static func word(_ bytes: [UInt8], _ offset: Int) -> Int {
    Int(truncatingIfNeeded: bytes.span.bytes.bigEndian(UInt64.self, at: offset))
  }
}
