import Primitives

/// Who refers to each host cluster of an image, told by nothing but what is written to its file: no
/// line of the engine takes part.
///
/// Invariants
/// 1. `current` counts the references of the trees that the file shows now: header, refcount table
///    and its blocks, the active L1 table, the snapshot table and its L1 tables, L2 tables (once
///    for each entry that names them) and what their entries name (once a table).
/// 2. `leaving` counts those that were overwritten, and that a crash may yet bring back: their
///    overwriting is not known to be durable. A cluster in either is live.
/// 3. `isHeld` has what the engine took and has not freed. All that is live is held; nothing that
///    is not held is written.
struct OwnerMap {
  enum Role: UInt8 { case none, header, l1, l2, refcountTable, snapshotTable }

  /// References that a change of the file took away.
  typealias Removals = [(cluster: Int, count: Int32)]

  let clusterBits: Int
  private(set) var bytes: [UInt8]
  private var roles: [Role] = []
  private var current: [Int32] = []
  private var leaving: [Int32] = []
  private var isHeld: [Bool] = []
  /// How many L1 entries name each L2 table.
  private var tableUses: [Int: Int] = [:]
  /// References whose removal is in the file, and not known to be durable.
  private var removed: Removals = []
  /// What should not have happened.
  private(set) var violations: [String] = []

  /// The host offset in an entry of L1, L2 or refcount table.
  static let offsetMask: UInt64 = 0x00ff_ffff_ffff_fe00

  /// The map of a file that nobody writes.
  init(_ file: [UInt8]) {
    bytes = file
    clusterBits = Int(file.span.bytes.bigEndian(UInt32.self, at: 20))
    walk()
    isHeld = current.map { $0 > 0 }
  }

  mutating func complain(_ text: String) {
    if violations.count < 8 { violations.append(text) }
  }

  func isLive(_ cluster: Int) -> Bool {
    cluster < current.count && (current[cluster] > 0 || leaving[cluster] > 0)
  }

  // MARK: - What the engine does

  /// Clusters are taken: nobody may have them, in the file as it is or as a crash could leave it.
  mutating func take(_ clusters: Range<Int>) {
    makeRoom(for: clusters.upperBound)
    for cluster in clusters {
      if isLive(cluster) {
        complain(
          "cluster \(cluster) is taken, and has \(current[cluster]) references in the file, "
            + "\(leaving[cluster]) that a crash may bring back")
      }
      if isHeld[cluster] { complain("cluster \(cluster) is taken twice") }
      isHeld[cluster] = true
    }
  }

  /// A cluster is free from now on.
  mutating func free(_ cluster: Int) {
    makeRoom(for: cluster + 1)
    if isLive(cluster) { complain("cluster \(cluster) is freed, and live") }
    if !isHeld[cluster] { complain("cluster \(cluster) is freed twice") }
    isHeld[cluster] = false
  }

  // MARK: - What is done to the file

  /// The file is written; answers what lost references by it.
  mutating func write(_ new: RawSpan, at offset: Int) -> Removals {
    if offset + new.byteCount > bytes.count { resize(to: offset + new.byteCount) }
    var gone: Removals = []
    var isTreeNew = false
    var range = ByteRange(offset: offset, count: new.byteCount)
    while !range.isEmpty {
      let cluster = range.lower >> clusterBits
      let part = range.prefix((cluster + 1) << clusterBits - range.lower)
      if !isHeld[cluster] { complain("cluster \(cluster) is written, and nobody holds it") }
      let role = roles[cluster]
      let before = [.l1, .l2, .refcountTable].contains(role) ? words(in: part) : []
      copy(new.slice(part.relative(to: offset)), to: part.lower)
      switch role {
      case .none: break
      case .header, .snapshotTable: isTreeNew = true
      case .l1, .l2, .refcountTable:
        for (old, now) in zip(before, words(in: part)) where old != now {
          exchange(old, for: now, in: role, &gone)
        }
      }
      range = range.dropFirst(part.count)
    }
    if isTreeNew { walkAnew(&gone) }
    return gone
  }

  /// A change of the file is complete: the next flush makes it durable.
  mutating func complete(_ gone: Removals) { removed += gone }

  /// A flush begins; answers what it settles.
  mutating func beginFlush() -> Removals {
    defer { removed = [] }
    return removed
  }

  /// The flush has succeeded.
  mutating func endFlush(_ settled: Removals) {
    for (cluster, count) in settled { leaving[cluster] -= count }
  }

  /// The host is told that it may forget `range`.
  mutating func discard(_ range: ByteRange) {
    for cluster in range.lower >> clusterBits...(range.upper - 1) >> clusterBits
    where isLive(cluster) {
      complain("cluster \(cluster) is punched out, and live")
    }
    for offset in range.lower..<min(range.upper, bytes.count) { bytes[offset] = 0 }
  }

  /// The file gets another length.
  mutating func resize(to length: Int) {
    if length > bytes.count {
      bytes += [UInt8](repeating: 0, count: length - bytes.count)
      makeRoom(for: length.dividedRoundingUp(by: 1 << clusterBits))
      return
    }
    for cluster in length >> clusterBits..<current.count where isLive(cluster) {
      complain("cluster \(cluster) is cut off, and live")
    }
    bytes.removeLast(bytes.count - length)
  }

  // MARK: - Accounts

  /// How much an image needs at a moment, in clusters; nothing may be under way.
  struct Account {
    /// What the guest's disk and its snapshots map: host clusters with data, and compressed
    /// clusters, which count whole; what several trees share counts once.
    var mapped = 0
    /// What is referred to.
    var live = 0
  }

  /// Counts, and compares what is held with what is live, as after closing.
  mutating func account(isClosed: Bool) -> Account {
    var account = Account()
    var mapped: Set<UInt64> = []
    for cluster in current.indices {
      if current[cluster] > 0 { account.live += 1 }
      if isClosed, isHeld[cluster] != (current[cluster] > 0) || leaving[cluster] != 0 {
        complain(
          "closed: cluster \(cluster) has \(current[cluster]) references and "
            + "\(leaving[cluster]) of before, and is \(isHeld[cluster] ? "" : "not ")held")
      }
      guard roles[cluster] == .l2 else { continue }
      for entry in words(ofTable: cluster) where clusters(of: entry) != nil {
        mapped.insert(entry & 1 << 62 == 0 ? entry & Self.offsetMask : entry)
      }
    }
    account.mapped = mapped.count
    return account
  }

  // MARK: - References

  /// The host clusters in each of which a standard L2 entry holds a reference.
  static func clusters(of entry: UInt64, clusterBits: Int) -> Range<Int>? {
    guard entry & 1 << 62 != 0 else {
      let cluster = Int(entry & offsetMask) >> clusterBits
      return cluster == 0 ? nil : cluster..<cluster + 1
    }
    let offsetBits = UInt64(70 - clusterBits)
    let start = Int(entry & (1 << offsetBits - 1)).roundedDown(to: 512)
    let sectors = Int((entry & (1 << 62 - 1)) >> offsetBits) + 1
    return start >> clusterBits..<(start + sectors * 512 - 1) >> clusterBits + 1
  }

  private func clusters(of entry: UInt64) -> Range<Int>? {
    Self.clusters(of: entry, clusterBits: clusterBits)
  }

  private mutating func exchange(
    _ old: UInt64, for now: UInt64, in role: Role, _ gone: inout Removals
  ) {
    switch role {
    case .l2:
      for cluster in clusters(of: now) ?? 0..<0 { refer(cluster) }
      for cluster in clusters(of: old) ?? 0..<0 { unrefer(cluster, &gone) }
    case .l1:
      enter(now)
      leave(old, &gone)
    case .refcountTable:
      if now != 0 { refer(Int(now & Self.offsetMask) >> clusterBits) }
      if old != 0 { unrefer(Int(old & Self.offsetMask) >> clusterBits, &gone) }
    case .none, .header, .snapshotTable: break
    }
  }

  private mutating func refer(_ cluster: Int, as role: Role? = nil) {
    makeRoom(for: cluster + 1)
    current[cluster] += 1
    if let role { roles[cluster] = role }
  }

  private mutating func unrefer(_ cluster: Int, _ gone: inout Removals) {
    current[cluster] -= 1
    leaving[cluster] += 1
    gone.append((cluster, 1))
  }

  /// An L1 entry names an L2 table from now on.
  private mutating func enter(_ entry: UInt64) {
    let table = Int(entry & Self.offsetMask) >> clusterBits
    guard table != 0 else { return }
    refer(table, as: .l2)
    tableUses[table, default: 0] += 1
    guard tableUses[table] == 1 else { return }
    for word in words(ofTable: table) {
      for cluster in clusters(of: word) ?? 0..<0 { refer(cluster) }
    }
  }

  /// An L1 entry names it no more.
  private mutating func leave(_ entry: UInt64, _ gone: inout Removals) {
    let table = Int(entry & Self.offsetMask) >> clusterBits
    guard table != 0, let uses = tableUses[table] else { return }
    unrefer(table, &gone)
    tableUses[table] = uses == 1 ? nil : uses - 1
    guard uses == 1 else { return }
    roles[table] = .none
    for word in words(ofTable: table) {
      for cluster in clusters(of: word) ?? 0..<0 { unrefer(cluster, &gone) }
    }
  }

  // MARK: - The whole tree

  /// What the trees of before referred to may come back by a crash; those of now count.
  private mutating func walkAnew(_ gone: inout Removals) {
    for cluster in current.indices where current[cluster] > 0 {
      leaving[cluster] += current[cluster]
      gone.append((cluster, current[cluster]))
      current[cluster] = 0
    }
    for cluster in roles.indices { roles[cluster] = .none }
    tableUses = [:]
    walk()
  }

  private mutating func walk() {
    makeRoom(for: bytes.count.dividedRoundingUp(by: 1 << clusterBits))
    refer(0, as: .header)
    let tableCluster = Int(word(48)) >> clusterBits
    for cluster in tableCluster..<tableCluster + half(56) {
      refer(cluster, as: .refcountTable)
      for entry in words(ofTable: cluster) where entry != 0 {
        refer(Int(entry & Self.offsetMask) >> clusterBits)
      }
    }
    walkL1(at: Int(word(40)), count: half(36))
    walkSnapshots()
  }

  private mutating func walkSnapshots() {
    let count = half(60)
    guard count > 0 else { return }
    let table = Int(word(64))
    var offset = table
    for _ in 0..<count {
      walkL1(at: Int(word(offset)), count: half(offset + 8))
      let names = half(offset + 12)
      offset += (40 + half(offset + 36) + names >> 16 + names & 0xffff).roundedUp(to: 8)
    }
    for cluster in table >> clusterBits...(offset - 1) >> clusterBits {
      refer(cluster, as: .snapshotTable)
    }
  }

  private mutating func walkL1(at offset: Int, count: Int) {
    guard count > 0 else { return }
    for cluster in offset >> clusterBits...(offset + count * 8 - 1) >> clusterBits {
      refer(cluster, as: .l1)
    }
    for index in 0..<count { enter(word(offset + index * 8)) }
  }
}

// MARK: - Bytes

extension OwnerMap {
  private func word(_ offset: Int) -> UInt64 {
    guard offset + 8 <= bytes.count else { return 0 }
    return bytes.span.bytes.bigEndian(UInt64.self, at: offset)
  }

  private func half(_ offset: Int) -> Int { Int(word(offset) >> 32) }

  private func words(in range: ByteRange) -> [UInt64] {
    stride(from: range.lower.roundedDown(to: 8), to: range.upper, by: 8).map(word)
  }

  private func words(ofTable cluster: Int) -> [UInt64] {
    words(in: ByteRange(offset: cluster << clusterBits, count: 1 << clusterBits))
  }

  private mutating func copy(_ new: RawSpan, to offset: Int) {
    var span = bytes.mutableSpan
    var raw = span.mutableBytes
    raw.copy(from: new, at: offset)
  }

  private mutating func makeRoom(for count: Int) {
    guard count > current.count else { return }
    let more = count - current.count
    current += Array(repeating: 0, count: more)
    leaving += Array(repeating: 0, count: more)
    isHeld += Array(repeating: false, count: more)
    roles += Array(repeating: .none, count: more)
  }
}
