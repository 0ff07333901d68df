import Execution
import Foundation
import QEMUTools
import Testing

/// A folder of random images over everything that the format has, made by the qemu tools alone.
struct PersonaZoo {
  /// A file of the folder.
  struct Animal {
    let name: String
    /// The format that it has, or would have if it were whole.
    let format: String
    /// The names of its snapshots and bitmaps.
    var snapshots: [String] = []
    var bitmaps: [String] = []
    /// Whether its disk is too long to be written whole.
    var isLarge = false
    /// Whether something in it was spoilt.
    var isDamaged: Bool { ["damaged.qcow2", "worse.qcow2"].contains(name) }
    /// Whether the file ends before its contents do.
    var isTruncated = false
  }

  /// Where the images are, with a slash at its end.
  let folder: String
  private(set) var animals: [Animal] = []
  private var random: SeededGenerator

  init(_ folder: String, seed: UInt64) throws {
    self.folder = folder
    random = SeededGenerator(seed: seed)
    try addRaws()
    try addPlain("plain.qcow2")
    try addChain()
    if chance(2) { try addPlain("other.qcow2") }
    if chance(2) { try addDataFile() }
    if chance(2) { try addEqual() }
    try addDamaged("damaged.qcow2")
    if chance(2) { try addDamaged("worse.qcow2") }
  }

  /// True once in `count` times.
  private mutating func chance(_ count: Int) -> Bool {
    Int.random(in: 0..<count, using: &random) == 0
  }

  private mutating func pick<Value>(_ values: [Value]) -> Value {
    values[Int.random(in: 0..<values.count, using: &random)]
  }

  private func image(_ words: [String]) throws {
    let answer = try QEMUTools.run("qemu-img", words)
    try #require(answer.status == 0, "qemu-img \(words): \(answer.errors)")
  }

  // MARK: - Raw files

  private mutating func addRaws() throws {
    let count = pick([512, 65536, 100_000, 1_048_576, 1, 3_000_000])
    let bytes = (0..<count).map { $0 / 7000 % 3 == 0 ? 0 : UInt8(truncatingIfNeeded: $0 / 512 + 1) }
    try Data(bytes).write(to: URL(filePath: folder + "raw.img"))
    animals.append(Animal(name: "raw.img", format: "raw"))
    try Data().write(to: URL(filePath: folder + "empty"))
    animals.append(Animal(name: "empty", format: "raw"))
  }

  // MARK: - qcow2

  #if Zstd
  private static let hasZstd = true
  #else
  private static let hasZstd = false
  #endif

  /// Options for a new image; some go together with others only.
  private mutating func options() -> (list: String, isVersion2: Bool) {
    let bits = Int.random(in: 9...18, using: &random)
    let isVersion2 = chance(5)
    var list = "cluster_size=\(1 << bits),compat=\(isVersion2 ? "0.10" : "1.1")"
    if !isVersion2 {
      list += ",refcount_bits=\(1 << Int.random(in: 0...6, using: &random))"
      if bits >= 14, chance(3) { list += ",extended_l2=on" }
      if chance(4) { list += ",lazy_refcounts=on" }
      if chance(3), Self.hasZstd { list += ",compression_type=zstd" }
    }
    return (list, isVersion2)
  }

  private mutating func size() -> Int {
    chance(8) ? pick([0, 1 << 30, 5 << 30]) : Int.random(in: 1...4000, using: &random) * 512
  }

  private mutating func addPlain(_ name: String) throws {
    let (list, isVersion2) = options()
    let length = size()
    let preallocation = chance(6) && length < 1 << 30 ? ",preallocation=metadata" : ""
    try image(
      ["create", "-q", "-f", "qcow2", "-o", list + preallocation, folder + name, "\(length)"])
    try write(name, length)
    if length > 0, length < 1 << 30, chance(3) {
      try FileManager.default.moveItem(atPath: folder + name, toPath: folder + "uncompressed")
      try image([
        "convert", "-c", "-O", "qcow2", "-o", list, folder + "uncompressed", folder + name,
      ])
      try FileManager.default.removeItem(atPath: folder + "uncompressed")
      if chance(2) { try write(name, length) }
    }
    animals.append(
      try decorated(Animal(name: name, format: "qcow2"), length, isVersion2: isVersion2))
  }

  /// Some snapshots and bitmaps, with writes between them.
  private mutating func decorated(
    _ animal: Animal, _ length: Int, isVersion2: Bool
  ) throws -> Animal {
    var animal = animal
    animal.isLarge = length >= 1 << 30
    let path = folder + animal.name
    if chance(2) {
      for name in ["s1", "second one", "7"].prefix(Int.random(in: 1...3, using: &random)) {
        guard try QEMUTools.run("qemu-img", ["snapshot", "-c", name, path]).status == 0 else {
          break  // A narrow refcount does not count two disks.
        }
        animal.snapshots.append(name)
        if chance(2) { try write(animal.name, length) }
      }
    }
    if !isVersion2, chance(2) {
      for name in ["b0", "b1", "the third"].prefix(Int.random(in: 1...3, using: &random)) {
        let granularity = pick(["512", "4k", "64k", "1M"])
        try image(
          ["bitmap", "--add", "-g", granularity] + (chance(3) ? ["--disable"] : [])
            + ["-f", "qcow2", path, name])
        animal.bitmaps.append(name)
      }
      try write(animal.name, length)
    }
    return animal
  }

  /// A few requests through one opening.
  private mutating func write(_ name: String, _ length: Int) throws {
    guard length > 0 else { return }
    var words = ["-f", "qcow2", "-d", "unmap"]
    for _ in 0..<Int.random(in: 0...6, using: &random) {
      let offset = chance(4) ? 0 : Int.random(in: 0..<length, using: &random)
      let count = Int.random(
        in: 1...min(pick([512, 9000, 200_000]), length - offset), using: &random)
      switch Int.random(in: 0..<8, using: &random) {
      case 0: words += ["-c", "write -q -z \(offset) \(count)"]
      case 1: words += ["-c", "write -q -z -u \(offset) \(count)"]
      case 2: words += ["-c", "discard -q \(offset) \(count)"]
      default:
        let pattern = Int.random(in: 0...255, using: &random)
        words += ["-c", "write -q -P \(pattern) \(offset) \(count)"]
      }
    }
    // Narrow refcounts may refuse one; what the image then is, is random enough.
    _ = try QEMUTools.run("qemu-io", words + [folder + name])
  }

  private mutating func addChain() throws {
    var below = pick(["raw.img", "plain.qcow2"])
    for name in ["middle.qcow2", "top.qcow2"] {
      let format = below == "raw.img" ? "raw" : "qcow2"
      let (list, isVersion2) = options()
      let length = size()
      try image([
        "create", "-q", "-f", "qcow2", "-o", list, "-b", below, "-F", format, folder + name,
        "\(length)",
      ])
      try write(name, length)
      animals.append(
        try decorated(Animal(name: name, format: "qcow2"), length, isVersion2: isVersion2))
      below = name
    }
  }

  private mutating func addDataFile() throws {
    let length = Int.random(in: 1...2000, using: &random) * 512
    let raw = chance(2) ? ",data_file_raw=on" : ""
    let bits = Int.random(in: 12...17, using: &random)
    try image([
      "create", "-q", "-f", "qcow2", "-o",
      "cluster_size=\(1 << bits),data_file=\(folder)data.bin\(raw)", folder + "data.qcow2",
      "\(length)",
    ])
    try write("data.qcow2", length)
    animals.append(Animal(name: "data.qcow2", format: "qcow2"))
  }

  /// An image with the contents of another.
  private mutating func addEqual() throws {
    let source = pick(animals.filter { $0.name != "empty" })
    let format = pick(["raw", "qcow2"])
    let (list, _) = options()
    guard try length(of: source) < 1 << 30 else { return }
    try image(
      ["convert", "-O", format] + (format == "qcow2" ? ["-o", list] : [])
        + ["-f", source.format, folder + source.name, folder + "equal"])
    animals.append(Animal(name: "equal", format: format))
  }

  private func length(of animal: Animal) throws -> Int {
    let answer = try QEMUTools.run(
      "qemu-img", ["info", "--output=json", "-f", animal.format, folder + animal.name])
    let facts = try JSONSerialization.jsonObject(with: Data(answer.output.utf8))
    return (facts as? [String: Any])?["virtual-size"] as? Int ?? 0
  }

  // MARK: - Damage

  private mutating func addDamaged(_ name: String) throws {
    try addPlain(name)
    let place = URL(filePath: folder + name)
    var bytes = try Data(contentsOf: place)
    let length = bytes.count
    damage(&bytes)
    try bytes.write(to: place)
    animals[animals.count - 1].isTruncated = bytes.count < length
  }

  private mutating func damage(_ bytes: inout Data) {
    func number(_ offset: Int, _ count: Int) -> Int {
      guard offset >= 0, offset + count <= bytes.count else { return 0 }
      return bytes[offset..<offset + count].reduce(0) { $0 << 8 | Int($1) }
    }
    let table = number(48, 8)
    let block = number(table, 8)
    let l1Table = number(40, 8)
    let l2Table = number(l1Table, 8) & 0xff_ffff_ffff_fe00
    let bits = number(20, 4)
    var places: [Int] = []
    switch Int.random(in: 0..<9, using: &random) {
    case 0, 1, 2: places = (0..<3).map { block + pick([0, 1, 2, 6, 8, 9, 10, 11, 13]) + $0 % 2 }
    case 3: places = [l2Table + pick([0, 7, 8, 15])]
    case 4: places = [l1Table + pick([0, 5, 7])]
    case 5: bytes.removeLast(min(bytes.count / 2, 1 << bits))
    case 6: if number(4, 4) == 3 { bytes[79] ^= pick([1, 2, 3]) }
    case 7: places = [Int.random(in: 0..<104, using: &random)]
    default: bytes.append(contentsOf: [UInt8](repeating: 7, count: 1 << bits))
    }
    for place in places where place > 0 && place < bytes.count {
      bytes[place] ^= pick([1, 2, 3, 0x80, 0xff])
    }
  }
}
