public import Primitives

/// What a range of the file that the header names is used for.
public enum MetadataRegion: Hashable, Sendable, CaseIterable {
  /// The first cluster.
  case header
  /// The active L1 table.
  case activeL1Table
  /// The refcount table.
  case refcountTable
  /// The snapshot table, as far as its length is known: 40 bytes a snapshot.
  case snapshotTable
  /// The bitmap directory.
  case bitmapDirectory
  /// The LUKS header.
  case encryptionHeader

  /// What messages call it.
  public var name: String {
    switch self {
    case .header: "Header"
    case .activeL1Table: "Active L1 table"
    case .refcountTable: "Reference count table"
    case .snapshotTable: "Snapshot table"
    case .bitmapDirectory: "Bitmap directory"
    case .encryptionHeader: "Encryption header"
    }
  }
}

extension HeaderCluster {
  /// The non-empty ranges of the file that the header names, in the order of `MetadataRegion`.
  public var regions: [(region: MetadataRegion, range: ByteRange)] {
    let snapshotBytes = header.snapshotCount * SnapshotTableEntry.fixedByteCount
    let candidates: [(MetadataRegion, ByteRange?)] = [
      (.header, ByteRange(0, header.clusterSize)),
      (.activeL1Table, header.l1TableRange),
      (.refcountTable, header.refcountTableRange),
      (
        .snapshotTable,
        ByteRange(checkedOffset: header.snapshotTableOffset.value, count: snapshotBytes)
      ),
      (.bitmapDirectory, extensions.bitmaps?.directoryRange),
      (.encryptionHeader, extensions.encryptionHeader?.range),
    ]
    return candidates.compactMap { region, range in
      guard let range, !range.isEmpty else { return nil }
      return (region, range)
    }
  }

  /// What is wrong with the places of the tables in a file of `fileByteCount` bytes; empty for a
  /// sound image.
  ///
  /// An opener for reading or writing throws the first.
  ///
  /// Beyond QEMU: each table lies within the file, its last cluster counted whole (the L1 table of
  /// a new image ends in mid-cluster with the file), none at offset 0, and no two share a cluster.
  public func regionDefects(fileByteCount: Int) -> [Qcow2FormatError] {
    let clusterSize = header.clusterSize
    let fileEnd = fileByteCount.checkedRoundedUp(to: clusterSize) ?? .max
    var defects: [Qcow2FormatError] = []
    var placed: [(region: MetadataRegion, range: ByteRange)] = []
    for (region, range) in regions {
      if region != .header, range.lower == 0 {
        defects.append(Qcow2FormatError(.invalidTable, "\(region.name) offset invalid"))
        continue
      }
      guard region == .header || range.upper <= fileEnd else {
        defects.append(Self.beyondEnd(region, range, fileByteCount))
        continue
      }
      let whole = ByteRange(
        range.lower.roundedDown(to: clusterSize),
        range.upper.checkedRoundedUp(to: clusterSize) ?? .max)
      if let other = placed.first(where: { $0.range.overlaps(whole) }) {
        let message = "\(region.name) overlaps with \(other.region.name.lowercased())"
        defects.append(Qcow2FormatError(.invalidTable, message))
      }
      placed.append((region, whole))
    }
    return defects
  }

  private static func beyondEnd(
    _ region: MetadataRegion, _ range: ByteRange, _ fileByteCount: Int
  ) -> Qcow2FormatError {
    Qcow2FormatError(
      .truncated,
      "\(region.name) (\(range)) ends beyond the file, which has \(fileByteCount) bytes: "
        + "the image is truncated or damaged")
  }
}

extension BitmapExtension {
  /// The bytes of the directory in the file; nil when its end is beyond `Int.max`.
  public var directoryRange: ByteRange? {
    ByteRange(checkedOffset: directoryOffset.value, count: directoryByteCount)
  }
}
