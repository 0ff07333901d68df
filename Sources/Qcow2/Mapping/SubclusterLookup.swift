internal import BlockLayer
internal import Primitives

/// Lookups in images whose clusters have subclusters.
extension Tables {
  /// The run from a subcluster on: as long as subclusters are alike, and those with a place in the
  /// file follow each other there.
  func subclusterRun(_ start: EntryCursor, _ offsetInCluster: Int, _ count: Int) -> Lookup {
    let clusterSize = geometry.clusterSize
    let size = geometry.subclusterSize
    let subcluster = offsetInCluster / size
    let entry = start.slice.extendedEntry(start.index)
    let first: MappedRun.Kind
    switch kind(of: entry, subcluster, at: start) {
    case .success(let kind): first = kind.advanced(by: offsetInCluster)
    case .failure(let error): return .corrupt(error)
    }
    if first.isCompressed {
      return .run(MappedRun(kind: first, count: min(clusterSize - offsetInCluster, count)))
    }
    var end = (subcluster + entry.sameSubclusters(from: subcluster)) * size
    var length = end - offsetInCluster
    var next = start.next(clusterSize)
    while length < count, end == clusterSize, next.index < l2.entriesPerSlice {
      let entry = next.slice.extendedEntry(next.index)
      guard case .success(let kind) = kind(of: entry, 0, at: next),
        kind == first.advanced(by: length)
      else { break }
      end = entry.sameSubclusters(from: 0) * size
      length += end
      next = next.next(clusterSize)
    }
    return .run(MappedRun(kind: first, count: min(length, count)))
  }

  /// What a subcluster of an entry is, with the place of its cluster; a failure for an entry that
  /// is damaged.
  private func kind(
    of entry: ExtendedL2Entry, _ subcluster: Int, at cursor: EntryCursor
  ) -> Result<MappedRun.Kind, BlockError> {
    if case .compressed(let descriptor) = entry.entry.kind(clusterBits: geometry.clusterBits) {
      return hasDataFile
        ? .failure(.compressedInDataFile(cursor)) : .success(.compressed(descriptor))
    }
    let host = entry.entry.hostCluster(hasDataFile: hasDataFile)
    if let host, let error = defect(of: host, at: cursor) { return .failure(error) }
    // A writer that finds reserved bits does not go by the entry: see `WriteTarget`.
    let isSound = entry.entry.rawValue & L2Entry.reservedMask == 0
    let isCopied = isSound && (hasDataFile || (entry.entry.isCopied && cursor.isOurs))
    switch entry.subcluster(subcluster, hasDataFile: hasDataFile) {
    case .normal where host != nil:
      return .success(.data(host: host?.value ?? 0, isCopied: isCopied))
    case .zero: return .success(.zero(host: host?.value, isCopied: host != nil && isCopied))
    case .unallocated: return .success(.unallocated(host: host?.value))
    case .normal, .compressed, .invalid: return .failure(.invalidEntry(cursor))
    }
  }
}
