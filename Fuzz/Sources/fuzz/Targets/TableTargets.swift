import Primitives
import Qcow2

extension FuzzTarget {
  /// The snapshot table.
  static let snapshots = FuzzTarget(
    name: "snapshots", summary: "the entries of the snapshot table",
    seeds: {
      var first = SnapshotTableEntry.sample
      let second = first.serialize(virtualSize: 1 << 20)
      first.unknownExtraData = [1, 2, 3]
      return [[9, 0] + first.serialize(virtualSize: 1 << 20) + second]
    }
  ) { input in
    guard let bits = input.first, input.count > 1 else { return }
    let bytes = Array(input.dropFirst())
    let geometry = Geometry(clusterBits: 9 + Int(bits) % 13)
    var position = 0
    while let found = try? SnapshotTableEntry.parse(at: position, in: bytes.span.bytes, index: 0) {
      require(found.next >= position + 40, "an entry of no length")
      if found.entry.l1TableDefect(geometry: geometry) == nil {
        require(found.entry.l1TableRange != nil, "a table beyond all files")
      }
      let written = found.entry.serialize(virtualSize: 512)
      guard let again = try? SnapshotTableEntry.parse(at: 0, in: written.span.bytes, index: 0)
      else { fatalError("what was written cannot be read") }
      require(again.entry.name == found.entry.name, "another name")
      require(again.entry.l1TableOffset == found.entry.l1TableOffset, "another table")
      require(again.entry.vmStateByteCount == found.entry.vmStateByteCount, "another state")
      position = found.next
    }
  }

  /// The bitmap directory, and the words of all kinds of tables.
  static let bitmaps = FuzzTarget(
    name: "bitmaps", summary: "the bitmap directory, entries of all tables",
    seeds: {
      let entry = BitmapDirectoryEntry(
        name: "b0", granularityBits: 16, flags: .auto, tableOffset: HostOffset(0x10000),
        tableEntryCount: 1)
      let bytes = (try? BitmapDirectory.serialize([entry])) ?? []
      return [[7, 1, 20] + bytes, [0, 2, 30] + bytes + bytes]
    }
  ) { input in
    guard input.count > 3 else { return }
    let geometry = Geometry(
      clusterBits: 9 + Int(input[0]) % 13, refcountOrder: Int(input[0] >> 4) % 7)
    let size = 512 << (Int(input[2]) % 48)
    let bytes = Array(input.dropFirst(3))
    checkWords(bytes, geometry)
    guard
      let entries = try? BitmapDirectory.parse(
        bytes.span.bytes, bitmapCount: Int(input[1]) % 8, geometry: geometry, virtualSize: size)
    else { return }
    for entry in entries {
      require(entry.tableRange != nil, "a table beyond all files")
      require((9...31).contains(entry.granularityBits), "a granularity of none")
    }
    guard let written = try? BitmapDirectory.serialize(entries),
      let again = try? BitmapDirectory.parse(
        written.span.bytes, bitmapCount: entries.count, geometry: geometry, virtualSize: size)
    else { return require(entries.isEmpty, "what was written cannot be read") }
    require(again == entries, "what was written reads differently")
  }

  private static func checkWords(_ bytes: [UInt8], _ geometry: Geometry) {
    guard bytes.count >= 16 else { return }
    let raw = bytes.span.bytes.bigEndian(UInt64.self, at: 0)
    let bitmap = bytes.span.bytes.bigEndian(UInt64.self, at: 8)
    let entry = L2Entry(rawValue: raw)
    _ = entry.defects(geometry: geometry, version: .v2)
    if case .compressed(let descriptor) = entry.kind(clusterBits: geometry.clusterBits) {
      require((1...3).contains(descriptor.touchedClusters.count), "a cluster in too many")
      require(
        L2Entry.compressed(descriptor).rawValue == raw & ~(1 << 63), "another descriptor")
    }
    let extended = ExtendedL2Entry(entry: entry, bitmap: bitmap)
    _ = extended.with(allocated: extended.allocated, zeros: extended.zeros)
    _ = L1Entry(rawValue: raw).l2Table
    _ = RefcountTableEntry(rawValue: raw).checkedBlock(geometry: geometry)
    _ = BitmapTableEntry(rawValue: raw).kind(geometry: geometry)
  }
}

extension SnapshotTableEntry {
  /// One as qemu-img makes it.
  fileprivate static var sample: SnapshotTableEntry {
    let bytes: [UInt8] =
      [0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 1, 0, 1, 0, 5] + Array(repeating: 0, count: 20)
      + [0, 0, 0, 24] + Array(repeating: 0, count: 24) + Array("1first".utf8) + [0, 0]
    guard let found = try? parse(at: 0, in: bytes.span.bytes, index: 0) else {
      fatalError("the sample is none")
    }
    return found.entry
  }
}
