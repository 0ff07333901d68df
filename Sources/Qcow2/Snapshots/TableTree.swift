internal import BlockLayer
internal import Primitives

/// What an L1 table refers to: L2 tables, and through them clusters of data.
///
/// A cluster has as many references as there are ways to it: one that two entries of an L1 table
/// reach through one L2 table has two. Memory is some 3 bytes a cluster in use.
struct TableTree: Sendable {
  /// The L2 tables, each once.
  var tables = L2References()
  /// The references to each cluster, those to the L2 tables among them.
  var counts = ReferenceCounts()

  /// Adds what the entries of an L2 table refer to.
  fileprivate mutating func add(
    _ table: RawSpan, times count: Int, _ geometry: Geometry
  ) throws(BlockError) {
    let stride = geometry.l2EntryByteCount
    for index in 0..<geometry.l2EntriesPerTable {
      let raw = table.bigEndian(UInt64.self, at: index * stride)
      if raw == 0 { continue }
      let entry = L2Entry(rawValue: raw)
      if entry.isCompressed {
        let descriptor = CompressedDescriptor(entry: entry, clusterBits: geometry.clusterBits)
        for cluster in descriptor.touchedClusters {
          _ = counts.add(count, to: cluster.value, maximum: .max)
        }
      } else if let host = entry.hostCluster() {
        guard geometry.isClusterAligned(host) else {
          throw .corruption("Data cluster offset 0x\(String(host.value, radix: 16)) unaligned")
        }
        _ = counts.add(count, to: host.value >> geometry.clusterBits, maximum: .max)
      }
    }
  }
}

extension Qcow2Driver {
  /// Walks the tables below `l1`, as the file has them.
  ///
  /// Throws when one of them cannot be followed: nothing may be changed then.
  func tree(below l1: [UInt64]) async throws(BlockError) -> TableTree {
    var tree = TableTree()
    for (index, raw) in l1.enumerated() {
      guard let table = L1Entry(rawValue: raw).l2Table else { continue }
      guard geometry.isClusterAligned(table), table.value < file.node.length else {
        throw .corruption(
          "L2 table offset 0x\(String(table.value, radix: 16)) unaligned or beyond the file "
            + "(L1 index: 0x\(String(index, radix: 16)))")
      }
      tree.tables.add(table.value >> geometry.clusterBits, l1Index: index, isActive: true)
    }
    var buffer = IOBuffer(byteCount: geometry.clusterSize)
    for table in tree.tables.tables {
      _ = tree.counts.add(table.total, to: table.cluster, maximum: .max)
      var bytes = buffer.mutableBytes
      try await file.node.read(range(ofCluster: table.cluster), into: &bytes)
      try tree.add(bytes.bytes, times: table.total, geometry)
    }
    return tree
  }

  /// The bytes of a cluster in the file.
  func range(ofCluster cluster: Int) -> ByteRange {
    ByteRange(offset: cluster << geometry.clusterBits, count: geometry.clusterSize)
  }
}

extension ReferenceCounts {
  /// The first clusters of the pages that exist, in ascending order.
  var firstClusters: [Int] { pages.map { $0 * Self.clustersPerPage } }

  /// The counts of the page that begins with cluster `first`.
  mutating func page(at first: Int) -> [UInt64] {
    (first..<first + Self.clustersPerPage).map { entry(of: $0).count }
  }

  /// By how many references each cluster has more here than in `other`.
  mutating func excess(over other: inout ReferenceCounts) -> ReferenceCounts {
    var excess = ReferenceCounts()
    for first in firstClusters {
      for (index, count) in page(at: first).enumerated() where count > 0 {
        let others = other.entry(of: first + index).count
        if count > others {
          _ = excess.add(Int(clamping: count - others), to: first + index, maximum: .max)
        }
      }
    }
    return excess
  }

  /// Adds one reference to each cluster that `range` of the file touches.
  mutating func add(_ range: ByteRange, _ geometry: Geometry) {
    for cluster in geometry.clusters(touchedBy: range) {
      _ = add(1, to: cluster.value, maximum: .max)
    }
  }

  /// The first cluster with a reference among those that `range` of the file touches.
  mutating func firstCluster(in range: ByteRange, _ geometry: Geometry) -> Int? {
    let clusters = geometry.clusters(touchedBy: range)
    let wanted = clusters.lowerBound.value..<clusters.upperBound.value
    // Whichever is fewer: clusters of the range, or pages that exist.
    if wanted.count / Self.clustersPerPage <= pageCount {
      return wanted.first { entry(of: $0).count > 0 }
    }
    for first in firstClusters {
      let part = wanted.clamped(to: first..<first + Self.clustersPerPage)
      if let found = part.first(where: { entry(of: $0).count > 0 }) { return found }
    }
    return nil
  }
}
