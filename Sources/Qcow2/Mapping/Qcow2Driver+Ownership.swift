internal import BlockLayer
internal import Execution
internal import Primitives
internal import Synchronization

/// Copied flags, confirmed by refcounts before anything is written in place.
///
/// A flag says that the refcount is 1. Where it says so wrongly (a damaged image, one of an enemy,
/// or one in which a crash left refcounts that are too high), others may use the cluster: the flag
/// is taken back, and the next write moves the cluster. A refcount of 0 ends writing: the cluster
/// would be handed out again.
extension Qcow2Driver {
  /// How many bytes at the start of `host`, the place of clusters with copied flags, may be
  /// written.
  ///
  /// Throws where none of it may, whatever the flags say: metadata, or beyond the file's end.
  func ownedCount(of host: ByteRange) async throws(BlockError) -> Int {
    if dataFile != nil { return host.count }
    return try await withRefcounts { tables throws(BlockError) in
      try tables.checkDataTarget(host)
      return try tables.ownedCount(of: host)
    }
  }

  /// Takes back the copied flag of the cluster at guest offset `guest`, if it is wrong.
  func disown(_ guest: Int) async throws(BlockError) {
    let cluster = ByteRange(
      offset: guest.roundedDown(to: geometry.clusterSize), count: geometry.clusterSize)
    try await allocationLocks.withLock(cluster) { () async throws(BlockError) in
      try await ensureTable(geometry.split(GuestOffset(cluster.lower)).l1Index)
      try await disownLocked(cluster)
    }
  }

  /// The same, for who has locked `cluster`, whose L2 table is ours.
  func disownLocked(_ cluster: ByteRange) async throws(BlockError) {
    let host: Int
    switch try await lookUp(cluster.lower, 1).kind {
    case .data(let place, isCopied: true), .zero(let place?, isCopied: true): host = place
    case .unallocated(let place?): host = place
    default: return
    }
    let place = ByteRange(
      offset: host.roundedDown(to: geometry.clusterSize), count: geometry.clusterSize)
    guard try await ownedCount(of: place) == 0 else { return }
    _ = try await remap(cluster.lower, 1, mayPunch: false) { (_, old) in
      ExtendedL2Entry(entry: old.entry.copied(false), bitmap: old.bitmap)
    }
  }
}

extension Tables {
  fileprivate func ownedCount(of host: ByteRange) throws(BlockError) -> RefcountStep<Int> {
    let bits = geometry.clusterBits
    for cluster in host.lower >> bits...(host.upper - 1) >> bits {
      switch try refcount(cluster) {
      case .done(1): continue
      case .done(0):
        throw .corruption(
          "the data cluster at offset 0x\(String(cluster << bits, radix: 16)) is in use, and its "
            + "refcount is 0")
      case .done: return .done(max(0, cluster << bits - host.lower))
      case .missing(let tableIndex): return .missing(tableIndex: tableIndex)
      }
    }
    return .done(host.count)
  }
}
