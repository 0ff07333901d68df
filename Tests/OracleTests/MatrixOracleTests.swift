import Execution
import Foundation
import QEMUTools
import Testing

/// Random sequences of everything that is done to images, over the whole matrix of formats, each
/// step by us or by the qemu tools: after each both tools see the model's bytes, one map, and no
/// fault.
@Suite(.serialized, .enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"))
struct MatrixOracleTests {
  static let seeds = 0..<(Oracle.isLong ? 5000 : 8)

  @Test(arguments: seeds)
  func bothToolsDoAllThingsToOneImage(seed: Int) throws {
    try Oracle.withFolder { folder in
      var life = try ImageLife(folder, seed: UInt64(seed))
      for _ in 0..<8 {
        try life.step()
        if let difference = try life.difference() {
          Issue.record("seed \(seed), \(life.description): \(difference)")
          return
        }
      }
    }
  }
}

/// A backing chain whose top goes through a life, and the bytes that it must show.
private struct ImageLife {
  private(set) var description = ""
  private let folder: String
  private var random: SeededGenerator
  private var layers: [ImageLayer] = []
  private var bytes: [UInt8] = []
  private var snapshots: [(name: String, bytes: [UInt8])] = []
  private var bitmaps: [String] = []
  private var number = 0

  private var top: ImageLayer { layers[layers.count - 1] }
  private var image: String { folder + top.name }

  init(_ folder: String, seed: UInt64) throws {
    self.folder = folder
    random = SeededGenerator(seed: seed)
    let depth = [0, 0, 1, 1, 2, 3].randomElement(using: &random) ?? 0
    for index in 0...depth {
      try create(ImageLayer(index, in: folder, below: layers.last, &random))
      if index < depth { try write() }
    }
  }

  // MARK: - Tools

  /// Has one of the tools do it; the qemu tool where ours has no such verb.
  private mutating func perform(
    _ verb: String, _ words: [String], onlyQemu: Bool = false
  ) throws {
    let isOurs = !onlyQemu && Bool.random(using: &random)
    let program = verb == "io" ? "qemu-io" : "qemu-img"
    let answer =
      isOurs
      ? Oracle.lamina([verb] + words)
      : try QEMUTools.run(program, (verb == "io" ? [] : [verb]) + words)
    let shown = words.map { $0.replacingOccurrences(of: folder, with: "") }
    description += "\(isOurs ? "we" : "qemu"): \(verb) \(shown.joined(separator: " ")); "
    try #require(answer.status == 0, "\(description): \(answer.output)\(answer.errors)")
  }

  private mutating func create(_ layer: ImageLayer) throws {
    var words = ["-q", "-f", "qcow2", "-o", layer.options]
    if let below = layers.last { words += ["-b", below.name, "-F", "qcow2"] }
    try perform("create", words + [folder + layer.name, String(layer.size)])
    bytes =
      Array(bytes.prefix(layer.size))
      + [UInt8](repeating: 0, count: max(0, layer.size - bytes.count))
    layers.append(layer)
  }

  // MARK: - Steps

  /// Something, by one of the two.
  mutating func step() throws {
    switch Int.random(in: 0..<16, using: &random) {
    case 0 where !top.hasDataFile && top.refcountBits > 2 && snapshots.count < 3:
      number += 1
      try perform("snapshot", ["-c", "s\(number)", image])
      snapshots.append(("s\(number)", bytes))
    case 1 where bitmaps.isEmpty:  // else qemu-img refuses
      guard let target = snapshots.randomElement(using: &random) else { return try write() }
      // A version 2 image's snapshots have the disk's size.
      try perform("snapshot", ["-a", target.name, image])
      bytes = target.bytes
    case 2:
      guard let index = snapshots.indices.randomElement(using: &random) else { return try write() }
      try perform("snapshot", ["-d", snapshots.remove(at: index).name, image])
    case 3, 4: try resize()
    case 5: try changeBitmaps()
    case 6: try amend()
    case 7: try commitOrRebase()
    case 8:
      // qemu-img 7.2 loses the snapshots of an image that has bitmaps too when it repairs it.
      guard bitmaps.isEmpty || snapshots.isEmpty else { return try write() }
      try perform("check", ["-q", "-r", "leaks", "-f", "qcow2", image])
    default: try write()
    }
  }

  /// Some writes, zeroes, discards and compressed writes through one opening.
  private mutating func write() throws {
    var words = ["-f", "qcow2", "-d", "unmap"]
    // qemu-io 7.2 puts a second stream of one opening into a cluster of data written in between,
    // and leaves that cluster's copied flag.
    var mayCompress = true
    for _ in 0..<Int.random(in: 1...6, using: &random) where !bytes.isEmpty {
      let requests = requests(mayCompress)
      if requests.count > 1 { mayCompress = false }
      for request in requests { words += ["-c", request] }
    }
    guard words.count > 4 else { return }
    try perform("io", words + [image])
  }

  /// One request of qemu-io, or two, whose effect on the model is noted.
  private mutating func requests(_ mayCompress: Bool) -> [String] {
    let kind = Int.random(in: 0..<9, using: &random)
    let cluster = top.clusterSize
    if kind == 0, mayCompress, !top.hasDataFile {
      // qemu-io refuses a cluster that has its place already.
      let count = bytes.count / cluster
      guard count > 0, top.isVersion3 || layers.count == 1 else { return [] }
      let range = Int.random(in: 0..<count, using: &random) * cluster
      let pattern = UInt8.random(in: 1...255, using: &random)
      fill(range, cluster, pattern)
      return [
        "discard -q \(range) \(cluster)", "write -q -c -P \(pattern) \(range) \(cluster)",
      ]
    }
    let offset = Int.random(in: 0..<bytes.count, using: &random)
    let longest = [512, 9000, 150_000].randomElement(using: &random) ?? 512
    let count = Int.random(in: 1...min(longest, bytes.count - offset), using: &random)
    switch kind {
    case 1:
      fill(offset, count, 0)
      return ["write -q -z \(offset) \(count)"]
    case 2:
      fill(offset, count, 0)
      return ["write -q -z -u \(offset) \(count)"]
    case 3:
      // Whole clusters become zeros; in a version 2 overlay nothing happens.
      guard top.isVersion3 || layers.count == 1 else { return [] }
      let first = (offset + cluster - 1) / cluster * cluster
      let end = offset + count == bytes.count ? bytes.count : (offset + count) / cluster * cluster
      if first < end { fill(first, end - first, 0) }
      return ["discard -q \(offset) \(count)"]
    case 4: return ["flush"]
    default:
      let pattern = UInt8.random(in: 1...255, using: &random)
      fill(offset, count, pattern)
      return ["write -q -P \(pattern) \(offset) \(count)"]
    }
  }

  private mutating func fill(_ offset: Int, _ count: Int, _ pattern: UInt8) {
    for index in offset..<offset + count { bytes[index] = pattern }
  }

  private mutating func resize() throws {
    guard top.isVersion3 || snapshots.isEmpty else { return try write() }
    // To whole clusters: else qemu-img shows again what was cut off inside one.
    let cluster = max(top.clusterSize, 512)
    let old = bytes.count / cluster
    let new = max(1, Int.random(in: 0...old + 8, using: &random)) * cluster
    guard new != bytes.count, new < 4 << 20 else { return try write() }
    var words = ["-q", "-f", "qcow2"]
    if new < bytes.count { words.append("--shrink") }
    // qemu-img grows by what the rest of a cluster still holds, if it is not at its border.
    // A version 2 overlay it does not grow over a longer backing file.
    let isHidden = top.isVersion3 || layers.count == 1
    let onlyOurs = new > bytes.count && !(isHidden && bytes.count.isMultiple(of: cluster))
    if onlyOurs {
      let answer = Oracle.lamina(["resize"] + words + [image, String(new)])
      description += "we: resize to \(new); "
      try #require(answer.status == 0, "\(description): \(answer.errors)")
    } else {
      try perform("resize", words + [image, String(new)])
    }
    bytes = Array(bytes.prefix(new)) + [UInt8](repeating: 0, count: max(0, new - bytes.count))
  }

  private mutating func changeBitmaps() throws {
    guard top.isVersion3, !bytes.isEmpty else { return try write() }
    guard let name = bitmaps.randomElement(using: &random), Bool.random(using: &random) else {
      guard bitmaps.count < 3 else { return try write() }
      number += 1
      bitmaps.append("b\(number)")
      return try perform(
        "bitmap", ["--add", "-g", "4096", "-f", "qcow2", image, "b\(number)"], onlyQemu: true)
    }
    switch Int.random(in: 0..<4, using: &random) {
    case 0:
      bitmaps.removeAll { $0 == name }
      try perform("bitmap", ["--remove", "-f", "qcow2", image, name], onlyQemu: true)
    case 1: try perform("bitmap", ["--clear", "-f", "qcow2", image, name], onlyQemu: true)
    case 2: try perform("bitmap", ["--disable", "-f", "qcow2", image, name], onlyQemu: true)
    default: try perform("bitmap", ["--enable", "-f", "qcow2", image, name], onlyQemu: true)
    }
  }

  private mutating func amend() throws {
    guard top.isVersion3 else { return try write() }
    if Bool.random(using: &random) {
      let value = Bool.random(using: &random) ? "on" : "off"
      return try perform("amend", ["-q", "-f", "qcow2", "-o", "lazy_refcounts=\(value)", image])
    }
    let bits = [8, 16, 32, 64].randomElement(using: &random) ?? 16
    try perform("amend", ["-q", "-f", "qcow2", "-o", "refcount_bits=\(bits)", image])
    layers[layers.count - 1].refcountBits = bits
  }

  private mutating func commitOrRebase() throws {
    // What a snapshot does not have comes from the backing file: it would change.
    guard layers.count > 1, bitmaps.isEmpty, snapshots.isEmpty else { return try write() }
    if Bool.random(using: &random) {
      // The backing file shows what the top showed, and grows for it.
      guard layers[layers.count - 2].size <= bytes.count else { return try write() }
      let base = layers[layers.count - 2]
      // Nor does it grow one for a commit.
      if layers.count > 2, !base.isVersion3, base.size < bytes.count { return try write() }
      try perform("commit", ["-q", "-f", "qcow2", image])
      layers[layers.count - 2].size = bytes.count
      return
    }
    guard top.isVersion3 else { return try write() }
    guard layers.count > 2 else {
      try perform("rebase", ["-q", "-f", "qcow2", "-b", "", image])
      layers.removeFirst(layers.count - 1)
      return
    }
    let below = layers[layers.count - 3]
    try perform("rebase", ["-q", "-f", "qcow2", "-b", below.name, "-F", "qcow2", image])
    layers.remove(at: layers.count - 2)
  }

  // MARK: - What is seen

  /// What one of the tools says otherwise than the model or the other tool; nil when all agree.
  func difference() throws -> String? {
    let theirs = try QEMUTools.run("qemu-img", ["check", "--output=json", "-f", "qcow2", image])
    let ours = Oracle.lamina(["check", "--output=json", "-f", "qcow2", image])
    if theirs.status != 0 { return "qemu-img check: \(theirs.output)\(theirs.errors)" }
    if ours != theirs { return "check: \(ours) and \(theirs)" }
    if let difference = try difference(["-F", "qcow2"], image, bytes) { return difference }
    for snapshot in snapshots {
      if let difference = try self.difference(of: snapshot) { return difference }
    }
    let map = ["map", "--output=json", "-f", "qcow2", image]
    let mapped = try QEMUTools.run("qemu-img", map)
    let mappedByUs = Oracle.lamina(map)
    if mapped != mappedByUs { return "map: \(mappedByUs) and \(mapped)" }
    let info = ["info", "--output=json", "-f", "qcow2", image]
    let told = try QEMUTools.run("qemu-img", info)
    let toldByUs = Oracle.lamina(info)
    return told == toldByUs ? nil : "info: \(toldByUs) and \(told)"
  }

  /// What a snapshot shows otherwise than it must.
  private func difference(of snapshot: (name: String, bytes: [UInt8])) throws -> String? {
    let copy = folder + "snapshot.raw"
    let words = [
      "convert", "-f", "qcow2", "-O", "raw", "-l", "snapshot.name=\(snapshot.name)", image, copy,
    ]
    var answers = [("we", Oracle.lamina(words))]
    var found = [try Data(contentsOf: URL(filePath: copy))]
    // qemu-img 7.2 gives a snapshot the length that the disk has now.
    if snapshot.bytes.count == bytes.count {
      answers.append(("qemu", try QEMUTools.run("qemu-img", words)))
      found.append(try Data(contentsOf: URL(filePath: copy)))
    }
    for ((who, answer), data) in zip(answers, found) {
      if answer.status != 0 { return "\(who): snapshot \(snapshot.name): \(answer.errors)" }
      if Array(data) != snapshot.bytes { return "\(who): snapshot \(snapshot.name) differs" }
    }
    return nil
  }

  private func difference(
    _ options: [String], _ image: String, _ bytes: [UInt8]
  ) throws -> String? {
    let model = folder + "model.raw"
    try Data(bytes).write(to: URL(filePath: model))
    let compare = ["compare", "-f", "raw"] + options + [model, image]
    let compared = try QEMUTools.run("qemu-img", compare)
    if compared.status != 0 { return "qemu-img compare: \(compared.output)\(compared.errors)" }
    let comparedByUs = Oracle.lamina(compare)
    return comparedByUs == compared ? nil : "compare: \(comparedByUs)"
  }
}

/// One image of a chain, of any sort.
private struct ImageLayer {
  let name: String
  let options: String
  let clusterSize: Int
  let isVersion3: Bool
  let hasDataFile: Bool
  var refcountBits: Int
  var size: Int

  init(_ index: Int, in folder: String, below: ImageLayer?, _ random: inout SeededGenerator) {
    name = "layer\(index).qcow2"
    isVersion3 = Int.random(in: 0..<5, using: &random) != 0
    let bits = Int.random(in: 9...17, using: &random)
    clusterSize = 1 << bits
    refcountBits = isVersion3 ? 1 << Int.random(in: 0...6, using: &random) : 16
    size = Int.random(in: 1...1200, using: &random) * 512
    var options = "cluster_size=\(clusterSize),refcount_bits=\(refcountBits)"
    options += ",compat=\(isVersion3 ? "1.1" : "0.10")"
    var hasDataFile = false
    if isVersion3 {
      if bits >= 14, Bool.random(using: &random) { options += ",extended_l2=on" }
      if Int.random(in: 0..<4, using: &random) == 0 { options += ",lazy_refcounts=on" }
      if Int.random(in: 0..<8, using: &random) == 0 {
        options += ",data_file=\(folder)\(name).data"
        if below == nil, Bool.random(using: &random) { options += ",data_file_raw=on" }
        hasDataFile = true
      } else if Int.random(in: 0..<4, using: &random) == 0 {
        #if Zstd
        options += ",compression_type=zstd"
        #endif
      }
    }
    self.options = options
    self.hasDataFile = hasDataFile
  }
}
