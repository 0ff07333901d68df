internal import BlockLayer
internal import Primitives
internal import Synchronization

/// Adding and taking away the references of whole trees.
///
/// The caller holds `commitLock`, and nothing else takes or frees clusters meanwhile. The clusters
/// are gone through in ascending order, so that the refcount cache suffices for any image.
extension Qcow2Driver {
  // MARK: - Before anything is changed

  /// Throws unless every cluster of `counts` is in use, and its refcount can grow by its count.
  func checkRise(by counts: inout ReferenceCounts) async throws(BlockError) {
    // Not the driver's own geometry: amending changes the width.
    let geometry = tables.withLock { $0.geometry }
    for first in counts.firstClusters {
      let refcounts = try await refcounts(ofPage: first)
      for (index, count) in counts.page(at: first).enumerated() where count > 0 {
        let refcount = refcounts[index]
        guard refcount > 0 else {
          throw .corruption("cluster \(first + index) is referred to and has refcount 0")
        }
        guard refcount <= geometry.maximumRefcount, count <= geometry.maximumRefcount - refcount
        else {
          throw BlockError(
            .invalidArgument,
            "cluster \(first + index) has refcount \(refcount), and refcounts of "
              + "\(geometry.refcountBits) bits hold no more than \(geometry.maximumRefcount); "
              + "a copy of the image with wider refcounts can have more snapshots")
        }
      }
    }
  }

  /// Throws unless every cluster of `counts` has a refcount of at least its count and that in
  /// `kept`.
  func checkFall(
    by counts: inout ReferenceCounts, keeping kept: inout ReferenceCounts
  ) async throws(BlockError) {
    for first in counts.firstClusters {
      let refcounts = try await refcounts(ofPage: first)
      for (index, count) in counts.page(at: first).enumerated() where count > 0 {
        let (needed, overflow) = count.addingReportingOverflow(
          kept.entry(of: first + index).count)
        guard !overflow, refcounts[index] >= needed else {
          throw .corruption(
            "cluster \(first + index) has refcount \(refcounts[index]) and more references")
        }
      }
    }
  }

  /// Throws if a tree refers to clusters of `ranges`, or of the refcount structure: that would make
  /// data of metadata, or free it.
  func checkNoMetadata(
    in counts: inout ReferenceCounts, _ ranges: [ByteRange]
  ) async throws(BlockError) {
    let table = tables.withLock { $0.refcountTable }
    let blocks = table.lazy.compactMap {
      RefcountTableEntry(rawValue: $0).checkedBlock(geometry: self.geometry)
    }
    for range in ranges {
      if let cluster = counts.firstCluster(in: range, geometry) { throw Self.names(cluster) }
    }
    for block in blocks {
      let cluster = block.value >> geometry.clusterBits
      if counts.entry(of: cluster).count > 0 { throw Self.names(cluster) }
    }
  }

  private static func names(_ cluster: Int) -> BlockError {
    .corruption("an L2 table refers to cluster \(cluster), which holds metadata")
  }

  // MARK: - Changes

  /// Adds `counts` to the refcounts; when that fails, what it added is taken back as far as may be.
  func raiseRefcounts(by counts: inout ReferenceCounts) async throws(BlockError) {
    let pages = counts.firstClusters
    var done = 0
    do throws(BlockError) {
      for first in pages {
        try await change(page: first, by: counts.page(at: first), rises: true)
        done += 1
        try await writeRefcountsBackIfMany()
      }
    } catch {
      for first in pages.prefix(done) {
        try? await change(page: first, by: counts.page(at: first), rises: false)
      }
      throw error
    }
  }

  /// Takes `counts` off the refcounts; the host is told what is free then.
  ///
  /// No reference to what becomes free may be on disk. After a failure the rest is done all the
  /// same: what could not be changed stays as a leak.
  func lowerRefcounts(by counts: inout ReferenceCounts) async throws(BlockError) {
    var failure: BlockError?
    for first in counts.firstClusters {
      do throws(BlockError) {
        let deltas = counts.page(at: first)
        await punch(try await refcounts(ofPage: first), deltas, from: first)
        try await change(page: first, by: deltas, rises: false)
        try await writeRefcountsBackIfMany()
      } catch {
        failure = failure ?? error
      }
    }
    if let failure { throw failure }
  }

  private func change(page first: Int, by deltas: [UInt64], rises: Bool) async throws(BlockError) {
    try await withRefcounts { tables throws(BlockError) -> RefcountStep<Void> in
      let bound = tables.geometry.maximumRefcount
      let old: [UInt64]
      switch try tables.refcounts(ofPage: first) {
      case .missing(let tableIndex): return .missing(tableIndex: tableIndex)
      case .done(let refcounts): old = refcounts
      }
      var new = old
      for (index, delta) in deltas.enumerated() where delta > 0 {
        let room = old[index] <= bound ? bound - old[index] : 0
        guard rises ? delta <= room : delta <= old[index] else {
          throw .corruption(
            "refcount \(old[index]) of cluster \(first + index) cannot change by \(delta)")
        }
        new[index] = rises ? old[index] + delta : old[index] - delta
      }
      return try tables.setRefcounts(ofPage: first, to: new, from: old)
    }
  }

  private func refcounts(ofPage first: Int) async throws(BlockError) -> [UInt64] {
    try await withRefcounts { tables throws(BlockError) in
      try tables.refcounts(ofPage: first)
    }
  }

  /// Tells the file of the clusters that lose their last reference, before they can be taken again.
  ///
  /// It is a hint: a host that fails it keeps nothing but the space.
  private func punch(_ refcounts: [UInt64], _ deltas: [UInt64], from first: Int) async {
    var index = 0
    while index < deltas.count {
      let start = index
      while index < deltas.count, deltas[index] > 0, deltas[index] == refcounts[index] {
        index += 1
      }
      if index > start {
        let range = ByteRange(
          offset: (first + start) << geometry.clusterBits,
          count: (index - start) << geometry.clusterBits)
        try? await file.node.discard(range.intersection(ByteRange(0, file.node.length)))
      }
      index += 1
    }
  }

  private func writeRefcountsBackIfMany() async throws(BlockError) {
    let isMany = tables.withLock { $0.refcounts.dirtyCount > $0.refcounts.capacity / 2 }
    if isMany { try await commit() }
  }
}
