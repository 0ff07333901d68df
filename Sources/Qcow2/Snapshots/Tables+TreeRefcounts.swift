internal import BlockLayer
internal import Primitives

/// Refcounts of a page of `ReferenceCounts`: clusters that one block counts.
extension Tables {
  /// The refcounts of the page that begins with cluster `first`.
  func refcounts(ofPage first: Int) throws(BlockError) -> RefcountStep<[UInt64]> {
    let count = ReferenceCounts.clustersPerPage
    let (tableIndex, index) = geometry.refcountPosition(of: ClusterIndex(first))
    guard try blockOffset(tableIndex) != 0 else {
      return .done(Array(repeating: 0, count: count))
    }
    guard let block = refcounts.block(tableIndex) else { return .missing(tableIndex: tableIndex) }
    var values: [UInt64] = []
    values.reserveCapacity(count)
    for entry in index..<index + count {
      values.append(codec.value(at: entry, in: block.bytes.span.bytes))
    }
    return .done(values)
  }

  /// Replaces the refcounts of the page that begins with cluster `first`; what falls to 0 is free.
  mutating func setRefcounts(
    ofPage first: Int, to values: [UInt64], from old: [UInt64]
  ) throws(BlockError) -> RefcountStep<Void> {
    let (tableIndex, index) = geometry.refcountPosition(of: ClusterIndex(first))
    guard try blockOffset(tableIndex) != 0 else {
      throw .corruption("cluster \(first) has no refcount block")
    }
    guard let block = refcounts.block(tableIndex) else { return .missing(tableIndex: tableIndex) }
    for position in values.indices where values[position] != old[position] {
      store(values[position], at: index + position, of: block)
      guard values[position] == 0 else { continue }
      firstFree = min(firstFree, first + position)
      metadataClusters.remove(first + position)
      forgetStreams(at: first + position)
      observer?(.freed(first + position), self)
    }
    return .done(())
  }
}
