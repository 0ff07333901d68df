internal import Primitives

extension CheckFinding {
  /// The finding in one line.
  var message: String {
    switch self {
    case .leaked(let cluster, let refcount, let references):
      "Leaked cluster \(cluster) refcount=\(refcount) reference=\(references)"
    case .leakedBehindFile(let count, let first, let last):
      "Leaked clusters behind the end of the file: \(count), from \(first) to \(last)"
    case .refcountTooLow(let cluster, let refcount, let references):
      "ERROR cluster \(cluster) refcount=\(refcount) reference=\(references)"
    case .refcountOverflow(let offset): "ERROR: overflow cluster offset=\(hexText(offset))"
    case .copiedFlagOfTable(let index, let entry, let refcount):
      "ERROR OFLAG_COPIED L2 cluster: l1_index=\(index) l1_entry=\(hex(entry)) "
        + "refcount=\(refcount)"
    case .copiedFlagOfData(let entry, let refcount):
      "ERROR OFLAG_COPIED data cluster: l2_entry=\(hex(entry)) refcount=\(refcount)"
    case .refcountTableReservedBits, .refcountBlockMisaligned, .refcountBlockOutside,
      .refcountBlockShared:
      structureMessage
    case .outsideFile, .metadataOverlap, .dataOnMetadata, .mappedTwice, .tableMappedTwice:
      placeMessage
    case .subclustersContradict, .subclustersWithoutCluster, .compressedWithSubclusters:
      subclusterMessage
    case .snapshotIncomplete, .snapshotExtraData, .snapshotsTooMany, .snapshotTableMisaligned,
      .snapshotTableTooLarge, .snapshotsWithDataFile, .bitmapsInvalid, .bitmapEntryInvalid,
      .bitmapTail,
      .encryptionHeaderTooLarge:
      extraMessage
    default: entryMessage
    }
  }

  /// What is said when it has been put right.
  var repairMessage: String {
    switch self {
    case .leaked(let cluster, let refcount, let references),
      .refcountTooLow(let cluster, let refcount, let references):
      "Repairing cluster \(cluster) refcount=\(refcount) reference=\(references)"
    case .snapshotExtraData(let index, let byteCount):
      "Discarding too much extra metadata in snapshot table entry \(index) "
        + "(\(byteCount) > \(FormatLimits.maximumSnapshotExtraBytes))"
    case .snapshotsTooMany(let count): "Discarding \(count) overhanging snapshots"
    default:
      message.hasPrefix("ERROR") ? "Repairing" + message.dropFirst(5) : "Repairing: " + message
    }
  }

  private var structureMessage: String {
    switch self {
    case .refcountTableReservedBits(let index):
      "ERROR refcount table entry \(index) has reserved bits set"
    case .refcountBlockMisaligned(let index):
      "ERROR refcount block \(index) is not cluster aligned; refcount table entry corrupted"
    case .refcountBlockOutside(let index): "ERROR refcount block \(index) is outside image"
    case .refcountBlockShared(let index, let references):
      "ERROR refcount block \(index) refcount=\(references)"
    default: ""
    }
  }

  private var placeMessage: String {
    switch self {
    case .outsideFile(let range):
      "ERROR: counting reference for region exceeding the end of the file by one cluster or "
        + "more: offset \(hexText(range.lower)) size \(hexText(range.count))"
    case .metadataOverlap(let one, let other, let cluster):
      "ERROR cluster \(cluster): \(one.name) overlaps with \(other.name)"
    case .dataOnMetadata(let offset, let owner, let guest):
      "ERROR offset=\(hex(offset)): Data cluster overlaps with \(owner.name)" + guestText(guest)
    case .mappedTwice(let offset, let guest):
      "offset=\(hex(offset)): Data cluster is mapped more than once" + guestText(guest)
    case .tableMappedTwice(let offset, let count):
      "l2_offset=\(hex(offset)): Table is named by \(count) L1 entries"
    default: ""
    }
  }

  private var entryMessage: String {
    switch self {
    case .l1ReservedBits(let entry): "ERROR found L1 entry with reserved bits set: \(hex(entry))"
    case .l1CopiedWithoutTable(let index, let entry):
      "ERROR L1 entry without a table has its copied flag set: "
        + "l1_index=\(index) l1_entry=\(hex(entry))"
    case .tableMisaligned(let offset):
      "ERROR l2_offset=\(hex(offset)): Table is not cluster aligned; L1 entry corrupted"
    case .l2ReservedBits(let entry): "ERROR found l2 entry with reserved bits set: \(hex(entry))"
    case .clusterMisaligned(let offset, let isZero):
      "ERROR offset=\(hex(offset)): \(isZero ? "Preallocated" : "Data") cluster is not properly "
        + "aligned; L2 entry corrupted."
    case .zeroFlagInVersion2(let entry):
      "ERROR zero cluster in an image of version 2: l2_entry=\(hex(entry))"
    case .copiedWithoutCluster(let entry):
      "ERROR L2 entry without a cluster has its copied flag set: l2_entry=\(hex(entry))"
    case .copiedCompressed(let offset):
      "ERROR: coffset=\(hexText(offset)): copied flag must never be set for compressed clusters"
    case .compressedWithDataFile(let index, let entry):
      "ERROR compressed cluster \(index) with data file, entry=\(hexText(entry))"
    case .dataFileMismatch(let offset, let guest):
      "ERROR External data file host cluster offset \(hexText(offset)) does not match guest "
        + "cluster offset \(hexText(guest))"
    default: ""
    }
  }

  private var subclusterMessage: String {
    switch self {
    case .subclustersContradict(let offset):
      "ERROR offset=\(hex(offset)): Allocated cluster has corrupted subcluster allocation bitmap"
    case .subclustersWithoutCluster:
      "ERROR: Unallocated cluster has non-zero subcluster allocation map"
    case .compressedWithSubclusters(let index, let entry):
      "ERROR compressed cluster \(index) with non-zero subcluster allocation bitmap, "
        + "entry=\(hexText(entry))"
    default: ""
    }
  }

  private var extraMessage: String {
    switch self {
    case .snapshotExtraData(let index, _):
      "ERROR too much extra metadata in snapshot table entry \(index)"
    case .snapshotsTooMany(let count): "ERROR \(count) snapshots too many"
    case .snapshotIncomplete(let index): "ERROR snapshot table entry \(index) is incomplete"
    case .snapshotTableMisaligned(let id, let name, let offset):
      "ERROR snapshot \(id) (\(name)) l1_offset=\(hexText(offset)): L1 table is not cluster "
        + "aligned; snapshot table entry corrupted"
    case .snapshotTableTooLarge(let id, let name, let count):
      "ERROR snapshot \(id) (\(name)) l1_size=\(hexText(count)): L1 table is too large; snapshot "
        + "table entry corrupted"
    case .snapshotsWithDataFile(let count): "ERROR \(count) snapshots in image with data file"
    case .bitmapsInvalid(let text): "ERROR bitmaps: \(text)"
    case .bitmapEntryInvalid(let bitmap, let index, let entry):
      "ERROR bitmap '\(bitmap)': table entry \(index) is invalid: \(hexText(entry))"
    case .bitmapTail(let bitmap):
      "ERROR bitmap '\(bitmap)': bits behind the end of the disk are set"
    case .encryptionHeaderTooLarge(let count):
      "ERROR encryption header of \(count) bytes is too large"
    default: ""
    }
  }

  private func hex(_ value: some BinaryInteger) -> String { String(value, radix: 16) }

  private func guestText(_ guest: Int?) -> String {
    guest.map { " (guest offset \(hexText($0)))" } ?? ""
  }
}
