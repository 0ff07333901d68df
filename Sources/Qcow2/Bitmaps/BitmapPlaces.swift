internal import Primitives

/// The clusters that the bitmaps loaded so far have, so that none is read twice.
///
/// An image of a few megabytes could else name one cluster of bits millions of times over, and fill
/// any memory by being opened.
struct BitmapPlaces {
  private let geometry: Geometry
  private var clusters: Set<Int> = []
  private var tables: [Range<ClusterIndex>] = []
  private var tableEntryCount = 0

  /// The entries of all tables together: at clusters of 512 bytes and the finest granularity those
  /// of 32 TiB, and much more with others.
  static let maximumTableEntries = 1 << 24

  init(geometry: Geometry) { self.geometry = geometry }

  /// Takes the clusters of a bitmap's table; false when another has one of them, or when the tables
  /// are too long together.
  mutating func takeTable(of entry: BitmapDirectoryEntry) -> Bool {
    tableEntryCount += entry.tableEntryCount
    guard tableEntryCount <= Self.maximumTableEntries, let range = entry.tableRange else {
      return false
    }
    tables.append(geometry.clusters(touchedBy: range))
    return geometry.clusters(touchedBy: range).allSatisfy {
      clusters.insert($0.value).inserted
    }
  }

  /// Notes what the clusters hold, so that nothing else is written there.
  func note(in map: inout MetadataMap) {
    for table in tables {
      map.insert(table.lowerBound.value..<table.upperBound.value, as: .bitmapTable)
    }
    for cluster in clusters { map.insert(cluster, as: .bitmapData) }
  }

  /// Takes a cluster of bits; false when it was taken.
  mutating func take(_ offset: HostOffset) -> Bool {
    clusters.insert(offset.value >> geometry.clusterBits).inserted
  }
}
