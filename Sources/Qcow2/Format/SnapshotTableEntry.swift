public import Primitives

/// An internal snapshot, as the snapshot table lists it (qcow2 specification, "Snapshots").
///
/// On disk: L1 offset (0, u64), L1 entries (8, u32), id length (12, u16), name length (14, u16),
/// seconds (16, u32), nanoseconds (20, u32), guest clock (24, u64), VM state size (32, u32), extra
/// data length (36, u32); extra data: VM state size (0, u64), disk size (8, u64), instruction count
/// (16, u64), unknown; then id, name, zeros to a multiple of 8.
public struct SnapshotTableEntry: Hashable, Sendable {
  /// The place of the snapshot's L1 table.
  ///
  /// Unchecked: see `l1TableDefect(geometry:)`.
  public var l1TableOffset: HostOffset
  /// The number of entries of that table.
  ///
  /// Unchecked: see `l1TableDefect(geometry:)`.
  public var l1EntryCount: Int
  /// The id: a decimal number when QEMU made the snapshot.
  public var id: EmbeddedName
  /// The name.
  public var name: EmbeddedName
  /// When it was taken: seconds since 1970.
  public var seconds: UInt32
  /// When it was taken: nanoseconds of that second.
  public var nanoseconds: UInt32
  /// The guest's clock, in nanoseconds since it started.
  public var guestClockNanoseconds: UInt64
  /// The size of the VM state in bytes; 0 for a snapshot of the disk alone.
  public var vmStateByteCount: UInt64
  /// The virtual size that the snapshot has; nil where an old entry does not say, and the image's
  /// counts.
  public var diskByteCount: UInt64?
  /// The instruction count of a recorded execution; nil where the entry does not say.
  public var instructionCount: UInt64?
  /// What follows the known extra data, kept as it is.
  public var unknownExtraData: [UInt8]

  /// The size of the part that every entry has.
  public static let fixedByteCount = 40
}

extension SnapshotTableEntry {
  /// Reads the entry at `position` of the snapshot table, of which `table` is the start, and says
  /// where the next one begins.
  ///
  /// Nil when the entry does not end in `table`: read more of the file.
  ///
  /// `index` is for messages. Throws when the entry breaks a limit; for a repair it
  /// `takesAnyExtraData` that the table has room for.
  public static func parse(
    at position: Int, in table: RawSpan, index: Int, takesAnyExtraData: Bool = false
  ) throws(Qcow2FormatError) -> (entry: SnapshotTableEntry, next: Int)? {
    precondition(position >= 0, "a snapshot table has no negative positions")
    guard table.byteCount - position >= fixedByteCount else { return nil }
    let idCount = Int(table.bigEndian(UInt16.self, at: position + 12))
    let nameCount = Int(table.bigEndian(UInt16.self, at: position + 14))
    let extraCount = Int(table.bigEndian(UInt32.self, at: position + 36))
    guard takesAnyExtraData || extraCount <= FormatLimits.maximumSnapshotExtraBytes else {
      throw Qcow2FormatError(
        .invalidSnapshot, "Too much extra metadata in snapshot table entry \(index)")
    }
    let used = fixedByteCount + extraCount + idCount + nameCount
    // The fields have 32 bits at most, positions are bounded by what is in memory: no overflow.
    let next = position + used.roundedUp(to: 8)
    guard next <= FormatLimits.maximumSnapshotTableBytes else {
      throw Qcow2FormatError(.tooLarge, "Snapshot table is too big")
    }
    guard position + used <= table.byteCount else { return nil }
    let record = table.slice(ByteRange(offset: position, count: used))
    let entry = try SnapshotTableEntry(
      record, index: index, extraCount: extraCount, idCount: idCount)
    return (entry, next)
  }

  private init(
    _ record: RawSpan, index: Int, extraCount: Int, idCount: Int
  ) throws(Qcow2FormatError) {
    guard let l1TableOffset = HostOffset(field: record.bigEndian(UInt64.self, at: 0)) else {
      throw Qcow2FormatError(
        .invalidSnapshot, "Snapshot table entry \(index): L1 table offset invalid")
    }
    self.l1TableOffset = l1TableOffset
    l1EntryCount = Int(record.bigEndian(UInt32.self, at: 8))
    seconds = record.bigEndian(at: 16)
    nanoseconds = record.bigEndian(at: 20)
    guestClockNanoseconds = record.bigEndian(at: 24)
    let extra = record.slice(ByteRange(offset: Self.fixedByteCount, count: extraCount))
    vmStateByteCount =
      extraCount >= 8 ? extra.bigEndian(at: 0) : UInt64(record.bigEndian(UInt32.self, at: 32))
    diskByteCount = extraCount >= 16 ? extra.bigEndian(at: 8) : nil
    instructionCount = extraCount >= 24 ? extra.bigEndian(at: 16) : nil
    unknownExtraData = extra.slice(ByteRange(min(24, extraCount), extraCount)).toArray()
    let strings = record.slice(ByteRange(Self.fixedByteCount + extraCount, record.byteCount))
    id = EmbeddedName(bytes: strings.slice(ByteRange(0, idCount)).toArray())
    name = EmbeddedName(bytes: strings.slice(ByteRange(idCount, strings.byteCount)).toArray())
  }

  /// The entry on disk, padded to 8, with all known extra data; what an old entry did not say is
  /// filled in: `virtualSize` and instruction count 0.
  public func serialize(virtualSize: Int) -> [UInt8] {
    precondition(
      id.bytes.count <= UInt16.max && name.bytes.count <= UInt16.max,
      "ids and names of snapshots have at most 65535 bytes")
    var output = ByteAppender()
    output.append(UInt64(l1TableOffset.value))
    output.append(UInt32(l1EntryCount))
    output.append(UInt16(id.bytes.count))
    output.append(UInt16(name.bytes.count))
    output.append(seconds)
    output.append(nanoseconds)
    output.append(guestClockNanoseconds)
    // A reader of the 32-bit field alone takes a larger VM state for none.
    output.append(UInt32(exactly: vmStateByteCount) ?? 0)
    output.append(UInt32(24 + unknownExtraData.count))
    output.append(vmStateByteCount)
    output.append(diskByteCount ?? UInt64(virtualSize))
    output.append(instructionCount ?? 0)
    output.append(bytes: unknownExtraData)
    output.append(bytes: id.bytes)
    output.append(bytes: name.bytes)
    output.pad(to: 8)
    return output.bytes
  }

  /// The bytes of the snapshot's L1 table in the file; nil when its end is beyond `Int.max`.
  public var l1TableRange: ByteRange? {
    ByteRange(checkedOffset: l1TableOffset.value, count: l1EntryCount * 8)
  }

  /// What is wrong with the place or size of the snapshot's L1 table; nil for a sound one.
  public func l1TableDefect(geometry: Geometry) -> Qcow2FormatError? {
    guard l1EntryCount <= FormatLimits.maximumL1TableBytes / 8 else {
      return Qcow2FormatError(.tooLarge, "Snapshot L1 table too large")
    }
    guard geometry.isClusterAligned(l1TableOffset), l1TableRange != nil,
      l1TableOffset.value > 0 || l1EntryCount == 0
    else { return Qcow2FormatError(.invalidTable, "Snapshot L1 table offset invalid") }
    return nil
  }

  /// The size of the extra data in bytes, when all known fields are written.
  public var extraByteCount: Int { 24 + unknownExtraData.count }

  /// Whether the entry has the extra data that version 3 demands: a disk size.
  public var hasRequiredExtraData: Bool { diskByteCount != nil }
}
