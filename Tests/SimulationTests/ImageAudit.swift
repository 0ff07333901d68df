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
    if half(4) == 3, word(72) != 0 { corruptions.append("incompatible features \(word(72))") }
    refer(0, "the header")
    return true
  }

  private mutating func refer(_ offset: Int, _ name: String, count: Int = 1) {
    if offset % clusterSize != 0 { corruptions.append("\(name) is not aligned: \(offset)") }
    if offset >= bytes.count { corruptions.append("\(name) is beyond the file's end: \(offset)") }
    for cluster in 0..<count { references[offset >> clusterBits + cluster, default: 0] += 1 }
  }

  private mutating func walkMappings() {
    let l1 = Int(word(40))
    let entries = half(36)
    let perTable = clusterSize / 8
    guard entries * perTable * clusterSize >= virtualSize else {
      corruptions.append("the L1 table of \(entries) entries is too short")
      return
    }
    walkTree(l1, entries, isActive: true)
  }

  /// Each way to a cluster is a reference; the flags of snapshots' tables mean nothing.
  private mutating func walkTree(_ l1: Int, _ entries: Int, isActive: Bool) {
    let perTable = clusterSize / 8
    if entries > 0 {
      refer(l1, "an L1 table", count: (entries * 8).dividedRoundingUp(by: clusterSize))
    }
    let flags = copied.count
    defer { if !isActive { copied.removeLast(copied.count - flags) } }
    for index in 0..<entries {
      let entry = word(l1 + index * 8)
      let table = Int(entry & Self.offsetMask)
      if table == 0 {
        if entry != 0 { corruptions.append("L1 entry \(index) is odd: \(entry)") }
        continue
      }
      refer(table, "L2 table \(index)")
      note(entry, table, "L2 table \(index)")
      for position in 0..<perTable { walkEntry(table + position * 8, index * perTable + position) }
    }
  }

  private mutating func walkEntry(_ offset: Int, _ guestCluster: Int) {
    let entry = word(offset)
    guard entry != 0 else { return }
    if entry & 1 << 62 != 0 {
      walkStream(entry, guestCluster)
      return
    }
    let host = Int(entry & Self.offsetMask)
    let rest = entry & ~Self.offsetMask & ~Self.copiedFlag
    guard rest <= 1, host != 0 || entry == 1 else {
      corruptions.append("guest cluster \(guestCluster) has the entry \(entry)")
      return
    }
    guard host != 0 else { return }
    refer(host, "guest cluster \(guestCluster)")
    note(entry, host, "guest cluster \(guestCluster)")
  }

  /// A compressed cluster refers to every cluster that its sectors touch.
  private mutating func walkStream(_ entry: UInt64, _ guestCluster: Int) {
    let offsetBits = UInt64(70 - clusterBits)
    let offset = Int(entry & (1 << offsetBits - 1))
    let sectors = Int(entry >> offsetBits & (1 << (62 - offsetBits) - 1)) + 1
    let start = offset / 512 * 512
    if offset == 0 || entry & Self.copiedFlag != 0 {
      corruptions.append("guest cluster \(guestCluster) has the compressed entry \(entry)")
    }
    let last = (start + sectors * 512 - 1) >> clusterBits
    for cluster in offset >> clusterBits...last {
      refer(cluster << clusterBits, "the stream of guest cluster \(guestCluster)")
    }
  }

  private mutating func note(_ entry: UInt64, _ offset: Int, _ name: String) {
    copied.append((offset >> clusterBits, entry & Self.copiedFlag != 0, name))
  }

  private mutating func walkSnapshots() {
    guard half(60) > 0 else { return }
    let table = Int(word(64))
    var offset = table
    for _ in 0..<half(60) {
      walkTree(Int(word(offset)), half(offset + 8), isActive: false)
      let names = half(offset + 12)
      let size = 40 + half(offset + 36) + names >> 16 + names & 0xffff
      offset += size.roundedUp(to: 8)
    }
    refer(
      table, "the snapshot table",
      count: (offset - table).dividedRoundingUp(by: clusterSize))
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
