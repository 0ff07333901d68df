internal import BlockLayer
internal import Primitives

/// Places for compressed streams. They are packed byte to byte; each holds one reference to every
/// host cluster that it touches.
extension Tables {
  /// Takes a place for a stream of `byteCount` bytes, less than a cluster, and references to the
  /// host clusters there: behind the last stream if there is room, else at a free cluster's start.
  ///
  /// Answers nil when the place that is free lies where no descriptor reaches.
  mutating func placeStream(
    _ byteCount: Int
  ) throws(BlockError) -> RefcountStep<CompressedDescriptor?> {
    precondition(byteCount < geometry.clusterSize, "a stream is shorter than its cluster")
    switch try appendStream(byteCount) {
    case .missing(let tableIndex): return .missing(tableIndex: tableIndex)
    case .done(let descriptor?): return .done(descriptor)
    case .done(nil): break
    }
    switch try allocate(1) {
    case .missing(let tableIndex): return .missing(tableIndex: tableIndex)
    case .done(let run):
      let descriptor = CompressedDescriptor(
        hostOffset: HostOffset(run.first << geometry.clusterBits), byteCount: byteCount,
        clusterBits: geometry.clusterBits)
      guard let descriptor else {
        _ = try change(run.first, 1, by: -1)
        return .done(nil)
      }
      streamsEnd = descriptor.hostOffset.value + byteCount
      return .done(descriptor)
    }
  }

  /// Takes a place right behind the last stream; nil when there is none.
  private mutating func appendStream(
    _ byteCount: Int
  ) throws(BlockError) -> RefcountStep<CompressedDescriptor?> {
    guard let end = streamsEnd, !end.isAligned(to: geometry.clusterSize),
      let descriptor = CompressedDescriptor(
        hostOffset: HostOffset(end), byteCount: byteCount, clusterBits: geometry.clusterBits)
    else { return .done(nil) }
    let cluster = end >> geometry.clusterBits
    switch try refcount(cluster) {
    case .missing(let tableIndex): return .missing(tableIndex: tableIndex)
    case .done(let count): guard count > 0, count < maximumRefcount else { return .done(nil) }
    }
    if (end + byteCount - 1) >> geometry.clusterBits > cluster {
      switch try takeIfFree(cluster + 1) {
      case .missing(let tableIndex): return .missing(tableIndex: tableIndex)
      case .done(let isTaken): guard isTaken else { return .done(nil) }
      }
    }
    _ = try change(cluster, 1, by: 1)
    streamsEnd = end + byteCount
    return .done(descriptor)
  }

  /// Sees to it that no stream is appended to host cluster `index`: its space is about to be given
  /// up, or was.
  mutating func endStreams(at index: Int) {
    if let end = streamsEnd, end >> geometry.clusterBits == index { streamsEnd = nil }
  }

  /// Notes that host cluster `index` is free, and its bytes may change.
  mutating func forgetStreams(at index: Int) {
    endStreams(at: index)
    decompressed.forget(hostCluster: index)
  }
}
