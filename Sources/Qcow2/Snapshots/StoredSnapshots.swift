internal import BlockLayer
internal import Primitives
internal import Synchronization

/// The snapshot table of the image as it is on disk.
struct StoredSnapshots: Sendable {
  var entries: [SnapshotTableEntry] = []
  /// Where the table stands; 0 where there are no snapshots.
  var offset = HostOffset.zero
  /// The size of the table, with the padding between the entries.
  var byteCount = 0

  /// The bytes of the table in the file.
  var range: ByteRange { ByteRange(offset: offset.value, count: byteCount) }

  /// The bytes of each snapshot's L1 table in the file, as far as their places are sound.
  func l1Ranges(_ geometry: Geometry) -> [ByteRange] {
    entries.compactMap { $0.l1TableDefect(geometry: geometry) == nil ? $0.l1TableRange : nil }
  }

  /// The index of the snapshot that is meant; throws `notFound`.
  func index(of reference: SnapshotReference) throws(BlockError) -> Int {
    let places = entries.map { (id: $0.id.bytes, name: $0.name.bytes) }
    guard let index = reference.index(in: places) else { throw reference.notFound }
    return index
  }

  /// An id that no snapshot has: one more than the highest number among the ids.
  var nextID: String {
    let highest = entries.map { Self.number(startingWith: $0.id.bytes) }.max() ?? 0
    let taken = Set(entries.map(\.id.bytes))
    var next = highest == .max ? 1 : highest + 1
    while taken.contains(Array(String(next).utf8)) { next += 1 }
    return String(next)
  }

  /// The number that an id is or begins with; 0 for none, or one that is too large.
  private static func number(startingWith bytes: [UInt8]) -> UInt64 {
    let digits = bytes.prefix { (0x30...0x39).contains($0) }
    return UInt64(String(decoding: digits, as: UTF8.self)) ?? 0
  }

  /// The table's bytes; what old entries do not say is filled in.
  static func serialize(_ entries: [SnapshotTableEntry], virtualSize: Int) -> [UInt8] {
    entries.flatMap { $0.serialize(virtualSize: virtualSize) }
  }
}

extension Qcow2Driver {
  /// Reads the snapshot table that `header` names; memory follows what the file holds.
  ///
  /// Throws `invalidImage`, with QEMU's texts, for a table that cannot be read.
  static func readSnapshots(
    of header: Header, in node: BlockNode
  ) async throws(BlockError) -> StoredSnapshots {
    var stored = StoredSnapshots()
    guard header.snapshotCount > 0 else { return stored }
    guard header.snapshotCount <= FormatLimits.maximumSnapshots else {
      throw BlockError(.invalidImage, "Snapshot table too large")
    }
    stored.offset = header.snapshotTableOffset
    var reader = SnapshotTableReader(header.snapshotTableOffset)
    while stored.entries.count < header.snapshotCount {
      let entry = try parsing { () throws(Qcow2FormatError) in
        try reader.next(stored.entries.count)
      }
      if let entry {
        stored.entries.append(entry)
        continue
      }
      guard let piece = reader.wantedPiece, piece.lower < node.length else {
        throw BlockError(.invalidImage, "Snapshot table ends beyond the end of the file")
      }
      var buffer = IOBuffer(byteCount: piece.count)
      var bytes = buffer.mutableBytes
      try await node.read(piece, into: &bytes)
      reader.append(bytes.bytes)
    }
    stored.byteCount = reader.byteCount
    return stored
  }

  /// The snapshot table, read when first asked for.
  func storedSnapshots() async throws(BlockError) -> StoredSnapshots {
    if let known = snapshotTable.withLock({ $0 }) { return known }
    let header = tables.withLock { $0.header.header }
    let stored = try await Self.readSnapshots(of: header, in: file.node)
    snapshotTable.withLock { $0 = stored }
    return stored
  }
}

extension SnapshotTableEntry {
  /// The L1 table of the snapshot, as far as it maps the disk of `length` bytes; throws what is
  /// wrong with its place.
  func readL1(
    of node: BlockNode, _ geometry: Geometry, length: Int? = nil
  ) async throws(BlockError) -> [UInt64] {
    if let defect = l1TableDefect(geometry: geometry) { throw BlockError(defect) }
    guard let range = l1TableRange, !range.isEmpty else { return [] }
    // It may end with the file, in mid-cluster, as the active one may.
    guard range.upper <= node.length.roundedUp(to: geometry.clusterSize) else {
      throw BlockError(.invalidImage, "Snapshot L1 table ends beyond the end of the file")
    }
    let needed = length.map { geometry.l1EntryCount(forSize: $0) } ?? l1EntryCount
    return try await Qcow2Driver.readTable(
      range.prefix(min(needed, l1EntryCount) * 8), of: node)
  }

  /// The length of the snapshot's disk in bytes; `current` where an old entry does not say.
  func length(current: Int, _ geometry: Geometry) throws(BlockError) -> Int {
    guard let stated = diskByteCount else { return current }
    guard let length = Int(exactly: stated), length <= geometry.maximumVirtualSize else {
      throw BlockError(.invalidImage, "the snapshot's disk size, \(stated), is beyond the limits")
    }
    return length.roundedDown(to: 512)
  }
}
