import BlockTestKit
import Primitives

/// A second opinion on a qcow2 image, from its bytes alone: no line of the engine takes part.
///
/// It counts the references to every cluster and compares them with the refcounts. A refcount that
/// is too low, a reference to what is no cluster of the file, and a wrong COPIED flag are
/// corruptions; a refcount that is too high is a leak.
struct ImageAudit {
  private(set) var corruptions: [String] = []
  private(set) var leaks = 0
  private(set) var virtualSize = 0

  private let bytes: [UInt8]
  private var clusterBits = 0
  private var refcountBits = 0
  private var wordsPerEntry = 1
  private var references: [Int: Int] = [:]
  private var copied: [(cluster: Int, isCopied: Bool, name: String)] = []
  private var blocks: [Int: Int] = [:]

  private static let offsetMask: UInt64 = 0x00ff_ffff_ffff_fe00
  private static let copiedFlag: UInt64 = 1 << 63

  init(_ image: SparseImage) {
    bytes = image.bytes
    guard parseHeader() else { return }
    walkMappings()
    walkSnapshots()
    walkBitmaps()
    walkRefcountStructures()
    compare()
  }

  private var clusterSize: Int { 1 << clusterBits }

  // MARK: - Bytes

  private func word(_ offset: Int) -> UInt64 {
    guard offset >= 0, offset + 8 <= bytes.count else { return tail(offset) }
    return bytes.span.bytes.bigEndian(UInt64.self, at: offset)
  }

  /// The word at the end of the file, filled up with zeros.
  private func tail(_ offset: Int) -> UInt64 {
    (0..<8).reduce(0) { $0 << 8 | UInt64(offset + $1 < bytes.count ? bytes[offset + $1] : 0) }
  }

  private func half(_ offset: Int) -> Int { Int(word(offset) >> 32) }

  // MARK: - Structures

  private mutating func parseHeader() -> Bool {
    guard half(0) == 0x5146_49fb, (2...3).contains(half(4)) else {
      corruptions.append("no qcow2 header")
      return false
    }
    clusterBits = half(20)
    virtualSize = Int(word(24))
    refcountBits = half(4) == 2 ? 16 : 1 << half(96)
    guard (9...21).contains(clusterBits), refcountBits <= 64 else {
      corruptions.append("header fields out of range")
      return false
    }
    // Known to this audit: extended L2 entries, another compression type.
    if half(4) == 3, word(72) & ~0x18 != 0 {
      corruptions.append("incompatible features \(word(72))")
    }
    if half(4) == 3, word(72) & 0x10 != 0 { wordsPerEntry = 2 }
    refer(0, "the header")
    return true
  }

  private mutating func refer(_ offset: Int, _ name: String, count: Int = 1) {
    if offset % clusterSize != 0 { corruptions.append("\(name) is not aligned: \(offset)") }
    if offset >= bytes.count { corruptions.append("\(name) is beyond the file's end: \(offset)") }
    for cluster in 0..<count { references[offset >> clusterBits + cluster, default: 0] += 1 }
  }

  private var entriesPerTable: Int { clusterSize / 8 / wordsPerEntry }

  private mutating func walkMappings() {
    let l1 = Int(word(40))
    let entries = half(36)
    guard entries * entriesPerTable * clusterSize >= virtualSize else {
      corruptions.append("the L1 table of \(entries) entries is too short")
      return
    }
    walkL1(l1, entries, isActive: true, "the L1 table")
  }

  private mutating func walkL1(_ l1: Int, _ entries: Int, isActive: Bool, _ name: String) {
    if entries > 0 { refer(l1, name, count: (entries * 8).dividedRoundingUp(by: clusterSize)) }
    for index in 0..<entries {
      let entry = word(l1 + index * 8)
      let table = Int(entry & Self.offsetMask)
      if table == 0 {
        if entry != 0 { corruptions.append("\(name): entry \(index) is odd: \(entry)") }
        continue
      }
      refer(table, "L2 table \(index) of \(name)")
      if isActive { note(entry, table, "L2 table \(index)") }
      for position in 0..<entriesPerTable {
        walkEntry(
          table + position * 8 * wordsPerEntry, isActive: isActive,
          "guest cluster \(index * entriesPerTable + position) of \(name)")
      }
    }
  }

  private mutating func walkEntry(_ offset: Int, isActive: Bool, _ name: String) {
    let entry = word(offset)
    let bitmap = wordsPerEntry == 2 ? word(offset + 8) : 0
    guard entry != 0 || bitmap != 0 else { return }
    if entry & 1 << 62 != 0 {
      walkCompressed(entry, bitmap, name)
      return
    }
    let host = Int(entry & Self.offsetMask)
    let flags = entry & ~Self.offsetMask & ~Self.copiedFlag
    let isEntryRight =
      wordsPerEntry == 1
      ? flags <= 1 && (host != 0 || entry == 1)
      : flags == 0 && bitmap & bitmap >> 32 & 0xffff_ffff == 0
        && (host != 0 || (entry == 0 && bitmap & 0xffff_ffff == 0))
    guard isEntryRight else {
      corruptions.append("\(name) has the entry \(entry), \(bitmap)")
      return
    }
    guard host != 0 else { return }
    refer(host, name)
    if isActive { note(entry, host, name) }
  }

  private mutating func walkCompressed(_ entry: UInt64, _ bitmap: UInt64, _ name: String) {
    let offsetBits = UInt64(70 - clusterBits)
    let host = Int(entry & (1 << offsetBits - 1))
    let sectors = Int((entry & (1 << 62 - 1)) >> offsetBits) + 1
    if entry & Self.copiedFlag != 0 || bitmap != 0 {
      corruptions.append("\(name): the flags of compressed data are wrong: \(entry), \(bitmap)")
    }
    let start = host / 512 * 512
    for cluster in start >> clusterBits...(start + sectors * 512 - 1) >> clusterBits {
      references[cluster, default: 0] += 1
    }
    if host >= bytes.count { corruptions.append("\(name) is beyond the file's end: \(host)") }
  }

  // MARK: - Snapshots

  private mutating func walkSnapshots() {
    let count = half(60)
    guard count > 0 else { return }
    let table = Int(word(64))
    var offset = table
    for index in 0..<count {
      walkL1(
        Int(word(offset)), half(offset + 8), isActive: false, "snapshot \(index)")
      let id = half(offset + 12) >> 16
      let name = half(offset + 12) & 0xffff
      offset = (offset + 40 + half(offset + 36) + id + name).roundedUp(to: 8)
    }
    refer(
      table, "the snapshot table", count: (offset - table).dividedRoundingUp(by: clusterSize))
  }

  private mutating func note(_ entry: UInt64, _ offset: Int, _ name: String) {
    copied.append((offset >> clusterBits, entry & Self.copiedFlag != 0, name))
  }

  private mutating func walkRefcountStructures() {
    let table = Int(word(48))
    let clusters = half(56)
    refer(table, "the refcount table", count: clusters)
    for index in 0..<clusters * clusterSize / 8 {
      let entry = word(table + index * 8)
      guard entry != 0 else { continue }
      let block = Int(entry)
      if entry & ~Self.offsetMask != 0 { corruptions.append("refcount table entry \(index)") }
      refer(block, "refcount block \(index)")
      blocks[index] = block
    }
  }

  // MARK: - Bitmaps

  /// The bitmaps extension counts only while its autoclear bit is set.
  private mutating func walkBitmaps() {
    guard half(4) == 3, word(88) & 1 != 0 else { return }
    var offset = half(100)
    while offset + 8 <= clusterSize, half(offset) != 0 {
      if half(offset) == 0x2385_2875 {
        walkDirectory(Int(word(offset + 24)), byteCount: Int(word(offset + 16)), half(offset + 8))
        return
      }
      offset += 8 + half(offset + 4).roundedUp(to: 8)
    }
    corruptions.append("the autoclear bit of bitmaps is set without a bitmaps extension")
  }

  private mutating func walkDirectory(_ directory: Int, byteCount: Int, _ count: Int) {
    refer(directory, "bitmap directory", count: byteCount.dividedRoundingUp(by: clusterSize))
    var offset = directory
    for index in 0..<count {
      let table = Int(word(offset))
      let entries = half(offset + 8)
      let nameSize = half(offset + 16) & 0xffff
      refer(
        table, "table of bitmap \(index)",
        count: (entries * 8).dividedRoundingUp(by: clusterSize))
      for entry in 0..<entries {
        let data = Int(word(table + entry * 8) & Self.offsetMask)
        if data != 0 { refer(data, "data of bitmap \(index)") }
      }
      offset += (24 + half(offset + 20) + nameSize).roundedUp(to: 8)
    }
    if offset != directory + byteCount {
      corruptions.append("the bitmap directory's size is wrong")
    }
  }

  // MARK: - Refcounts

  private func refcount(_ cluster: Int) -> UInt64 {
    let perBlock = clusterSize * 8 / refcountBits
    guard let block = blocks[cluster / perBlock] else { return 0 }
    let bit = cluster % perBlock * refcountBits
    if refcountBits < 8 {
      let byte = UInt64(word(block + bit / 8) >> 56)
      return byte >> UInt64(bit % 8) & (1 << UInt64(refcountBits) - 1)
    }
    return word(block + bit / 8) >> UInt64(64 - refcountBits)
  }

  private mutating func compare() {
    let perBlock = clusterSize * 8 / refcountBits
    let end = ((blocks.keys.max() ?? 0) + 1) * perBlock
    for cluster in references.keys.filter({ $0 >= end }).sorted() {
      corruptions.append("cluster \(cluster) is used and has no refcount")
    }
    for cluster in 0..<end {
      let count = Int(refcount(cluster))
      let expected = references[cluster, default: 0]
      if count < expected {
        corruptions.append("cluster \(cluster) has refcount \(count) and \(expected) references")
      } else if count > expected {
        leaks += 1
      }
    }
    for (cluster, isCopied, name) in copied where isCopied != (refcount(cluster) == 1) {
      // The flag tells the truth about one reference that is counted too high.
      if isCopied, references[cluster] == 1 { continue }
      corruptions.append("\(name): COPIED is \(isCopied), the refcount \(refcount(cluster))")
    }
  }
}
