internal import BlockLayer
internal import Primitives

/// What a write has to do to the clusters at the start of its window: clusters of one sort, which
/// need new entries.
struct WriteTarget: Sendable {
  /// How many clusters; 0 where the first is mapped, and ours, as far as the write needs it.
  var count: Int
  /// Where their data goes, in one piece, if they have their place already (reserved space, or a
  /// data file); nil where places must be found.
  var reuse: Int?
  /// The guest bytes that must be written for them: the data, and around it what would have no
  /// other place afterwards.
  var area: ByteRange
}

extension Tables {
  /// What a write of `data` has to do at the start of `window`, whole clusters of one L2 table; as
  /// far as one slice can tell.
  mutating func writeTarget(
    _ window: ByteRange, _ data: ByteRange
  ) throws(BlockError) -> MappingStep<WriteTarget> {
    let address = geometry.split(GuestOffset(window.lower))
    switch place(of: address) {
    case .missing(let offset): return .missing(sliceOffset: offset)
    case .corrupt(let error): throw error
    case .noTable:
      return .done(
        WriteTarget(
          count: window.count >> geometry.clusterBits, reuse: hasDataFile ? window.lower : nil,
          area: data.intersection(window).roundedOut(to: geometry.subclusterSize)))
    case .found(let slice, let index, let isOurs):
      let cursor = EntryCursor(
        slice: slice, index: index, guest: window.lower, isOurs: isOurs || hasDataFile)
      return .done(try writeTarget(cursor, window, data))
    }
  }

  private func writeTarget(
    _ start: EntryCursor, _ window: ByteRange, _ data: ByteRange
  ) throws(BlockError) -> WriteTarget {
    let clusterSize = geometry.clusterSize
    let most = min(window.count >> geometry.clusterBits, l2.entriesPerSlice - start.index)
    var target = WriteTarget(count: 0, reuse: nil, area: data)
    var cursor = start
    var kept: (first: ExtendedL2Entry, last: ExtendedL2Entry)?
    while target.count < most {
      let entry = l2.entry(cursor.index, of: cursor.slice)
      let place = try ownPlace(of: entry, at: cursor)
      if place != nil, isMapped(entry, ByteRange(offset: cursor.guest, count: clusterSize), data) {
        break
      }
      if target.count == 0 {
        target.reuse = place
      } else if place != target.reuse.map({ $0 + target.count * clusterSize }) {
        break
      }
      kept = (kept?.first ?? entry, entry)
      target.count += 1
      cursor = cursor.next(clusterSize)
    }
    if let kept {
      let clusters = ByteRange(offset: window.lower, count: target.count * clusterSize)
      target.area = area(clusters, data, kept, isOurs: target.reuse != nil)
    }
    return target
  }

  /// Where the data of a cluster goes without a new place being found (its host cluster if that is
  /// its own, or the data file); throws for an entry that is damaged.
  private func ownPlace(
    of entry: ExtendedL2Entry, at cursor: EntryCursor
  ) throws(BlockError) -> Int? {
    if entry.entry.isCompressed {
      if hasDataFile { throw .compressedInDataFile(cursor) }
      return nil
    }
    if entry.entry.rawValue & L2Entry.reservedMask != 0 { throw .invalidEntry(cursor) }
    let host = entry.entry.hostCluster(hasDataFile: hasDataFile)
    if let host, let error = defect(of: host, at: cursor) { throw error }
    if geometry.hasExtendedL2 {
      let isInvalid = entry.allocated & entry.zeros != 0 || (host == nil && entry.allocated != 0)
      if isInvalid { throw .invalidEntry(cursor) }
    } else if header.header.version == .v2, entry.entry.isZero {
      throw .zeroClusterInVersion2(cursor)
    }
    if hasDataFile { return cursor.guest }
    return entry.entry.isCopied && cursor.isOurs ? host?.value : nil
  }

  /// Whether the part of `data` in a cluster is mapped already, to a host cluster of its own.
  private func isMapped(_ entry: ExtendedL2Entry, _ cluster: ByteRange, _ data: ByteRange) -> Bool {
    if entry.entry.hostCluster(hasDataFile: hasDataFile) == nil { return false }
    guard geometry.hasExtendedL2 else { return !entry.entry.isZero }
    let touched = geometry.subclusters(of: data.intersection(cluster), in: cluster.lower)
    return entry.allocated & touched == touched
  }

  /// The bytes to be written for `clusters`: the data, the rest of subclusters that it begins, and,
  /// where the data of shared or compressed clusters moves, all of that.
  private func area(
    _ clusters: ByteRange, _ data: ByteRange,
    _ old: (first: ExtendedL2Entry, last: ExtendedL2Entry), isOurs: Bool
  ) -> ByteRange {
    let data = data.intersection(clusters)
    let size = geometry.subclusterSize
    var area = data.roundedOut(to: size)
    guard geometry.hasExtendedL2 else { return area }
    let firstCluster = clusters.lower
    let lastCluster = clusters.upper - geometry.clusterSize
    if isOurs {
      // What is allocated stays, and may be written by others meanwhile: only new subclusters
      // are filled up.
      let first = geometry.subclusters(of: area.prefix(size), in: firstCluster)
      if old.first.allocated & first != 0 { area = ByteRange(data.lower, area.upper) }
      let last = geometry.subclusters(
        of: ByteRange(area.upper - 1, area.upper), in: lastCluster)
      if old.last.allocated & last != 0 { area = ByteRange(area.lower, data.upper) }
      return area
    }
    if let moved = movedSubclusters(old.first) {
      area = ByteRange(min(area.lower, firstCluster + moved.lowerBound * size), area.upper)
    }
    if let moved = movedSubclusters(old.last) {
      area = ByteRange(area.lower, max(area.upper, lastCluster + moved.upperBound * size))
    }
    return area
  }

  /// The hull of the subclusters whose data must move with its cluster.
  private func movedSubclusters(_ entry: ExtendedL2Entry) -> Range<Int>? {
    if entry.entry.isCompressed { return 0..<ExtendedL2Entry.subclusterCount }
    guard entry.allocated != 0 else { return nil }
    return entry.allocated.trailingZeroBitCount..<32 - entry.allocated.leadingZeroBitCount
  }
}

extension Geometry {
  /// Bit i: `range`, inside the cluster that begins at guest offset `cluster`, touches subcluster
  /// i.
  func subclusters(of range: ByteRange, in cluster: Int) -> UInt32 {
    guard !range.isEmpty else { return 0 }
    let first = (range.lower - cluster) / subclusterSize
    let last = (range.upper - 1 - cluster) / subclusterSize
    return (UInt32.max << UInt32(first)) & (UInt32.max >> UInt32(31 - last))
  }
}
