internal import BlockLayer
internal import Primitives

/// Where a new refcount table and its blocks go: on clusters that nothing refers to, all of which
/// they count, themselves included.
struct RefcountRebuild {
  /// The blocks, in the order of the table: which range each counts, and on which cluster it is.
  private(set) var blocks: [(tableIndex: Int, cluster: Int)] = []
  /// The first cluster of the table.
  private(set) var table = 0
  /// The size of the table in clusters.
  private(set) var tableClusters = 0
  private let geometry: Geometry
  /// The first cluster that must not be used; nil where the file grows.
  private let end: Int?
  /// No cluster below is free.
  private var firstFree = 1

  /// Finds places, and counts a reference to each in `counts`, which has all others.
  ///
  /// `end` is the number of whole clusters of a file that cannot grow, nil for one that can. Throws
  /// `noSpace` when there is no room.
  init(
    _ counts: inout ReferenceCounts, geometry: Geometry, end: Int?
  ) throws(BlockError) {
    self.geometry = geometry
    self.end = end
    // Each block may be the first reference of a range that then needs a block itself.
    var ranges: Set<Int> = []
    while true {
      let firsts = counts.pages.map { $0 * ReferenceCounts.clustersPerPage }
      let wanted = firsts.filter { $0 <= counts.highest }.map { tableIndex(of: $0) }
      let missing = Set(wanted).subtracting(ranges).sorted()
      if missing.isEmpty {
        let entries = (ranges.max() ?? 0) + 1
        let needed = entries.dividedRoundingUp(by: geometry.tableEntriesPerCluster)
        if needed <= tableClusters { break }
        try placeTable(needed, &counts)
        continue
      }
      for range in missing {
        ranges.insert(range)
        let cluster = try take(1, &counts)
        blocks.append((range, cluster))
      }
    }
    blocks.sort { $0.tableIndex < $1.tableIndex }
  }

  private func tableIndex(of cluster: Int) -> Int {
    geometry.refcountPosition(of: ClusterIndex(cluster)).tableIndex
  }

  /// Places the table; what a smaller one had taken stays counted, and is freed with the old one.
  private mutating func placeTable(
    _ count: Int, _ counts: inout ReferenceCounts
  ) throws(BlockError) {
    guard count <= FormatLimits.maximumRefcountTableBytes >> geometry.clusterBits else {
      throw BlockError(.noSpace, "the image is too large for a refcount table")
    }
    table = try take(count, &counts)
    tableClusters = count
  }

  /// Takes `count` free clusters that follow each other.
  private mutating func take(
    _ count: Int, _ counts: inout ReferenceCounts
  ) throws(BlockError) -> Int {
    let first = counts.firstFreeRun(of: count, from: firstFree)
    guard first + count <= end ?? FormatLimits.maximumHostOffset >> geometry.clusterBits else {
      throw BlockError(.noSpace, "there is no room for new refcounts in the image file")
    }
    for cluster in first..<first + count {
      _ = counts.add(1, to: cluster, maximum: geometry.maximumRefcount)
    }
    if count == 1 { firstFree = first + 1 }
    return first
  }

  /// The bytes of the block that counts range `tableIndex`, put into `bytes`, one cluster.
  func fill(
    _ bytes: inout MutableRawSpan, blockOf tableIndex: Int, _ counts: inout ReferenceCounts
  ) {
    bytes.fill(with: 0)
    let codec = RefcountBlock(order: geometry.refcountOrder)
    let first = geometry.firstCluster(ofRefcountBlock: tableIndex).value
    let pages = counts.pages(from: first, to: first + geometry.entriesPerRefcountBlock)
    for page in pages {
      for cluster in page {
        let count = counts.entry(of: cluster).count
        if count > 0 { codec.store(count, at: cluster - first, in: &bytes) }
      }
    }
  }

  /// The entries of the new table.
  var entries: [UInt64] {
    var entries = [UInt64](repeating: 0, count: tableClusters * geometry.tableEntriesPerCluster)
    for block in blocks {
      entries[block.tableIndex] = UInt64(block.cluster << geometry.clusterBits)
    }
    return entries
  }
}

extension ReferenceCounts {
  /// The first of `count` clusters from `start` on that follow each other and that nothing refers
  /// to.
  mutating func firstFreeRun(of count: Int, from start: Int) -> Int {
    var first = start
    var cluster = start
    while cluster - first < count {
      // Behind the last reference everything is free.
      if cluster > highest { break }
      let entry = entry(of: cluster)
      cluster += 1
      if entry.count > 0 || !entry.marks.isFree { first = cluster }
    }
    return first
  }

  /// The pages with a reference among the clusters from `first` to before `end`, which are a
  /// multiple of a page each.
  func pages(from first: Int, to end: Int) -> [Range<Int>] {
    let size = Self.clustersPerPage
    let wanted = first / size..<end / size
    // Whichever is shorter: the range, or the list of all pages.
    let numbers = wanted.count < pageCount ? wanted.filter(hasPage) : pages.filter(wanted.contains)
    return numbers.map { $0 * size..<($0 + 1) * size }
  }
}
