internal import BlockLayer
internal import Execution
internal import Primitives
internal import Synchronization

/// Host clusters for parts of the disk that nothing was written to.
extension Qcow2Driver {
  /// Maps every cluster of `range`, which is unallocated, to a host cluster that reads as zeros,
  /// and has the host reserve or write it as `mode` says.
  ///
  /// In a data file clusters have their places, which are as they should be.
  func preallocate(_ range: ByteRange, _ mode: Preallocation) async throws(BlockError) {
    guard !range.isEmpty else { return }
    let bits = geometry.clusterBits
    var rest = range.roundedOut(to: geometry.clusterSize)
    while !rest.isEmpty {
      let window = allocationWindow(rest)
      try await ensureTable(geometry.split(GuestOffset(window.lower)).l1Index)
      let place: ClusterRun
      if dataFile == nil {
        place = try await allocateBehindAll(window.count >> bits)
      } else {
        place = ClusterRun(first: window.lower >> bits, count: window.count >> bits)
      }
      var linked = 0
      do throws(BlockError) {
        if dataFile == nil { try await prepareSpace(place, mode) }
        while linked < place.count { linked += try await reserve(window.lower, place, linked) }
      } catch {
        if dataFile == nil { try? await giveBack(place.first + linked, place.count - linked) }
        throw error
      }
      rest = rest.dropFirst(place.count << bits)
      try await writeBackIfLarge()
    }
  }

  /// Maps clusters from `guest` on to those of `place`, but for the first ones; answers how many.
  ///
  /// Subclusters are not allocated by that: they are zeros where else the backing file would show.
  private func reserve(
    _ guest: Int, _ place: ClusterRun, _ first: Int
  ) async throws(BlockError) -> Int {
    let bits = geometry.clusterBits
    let start = guest + first << bits
    let hidesBelow = geometry.hasExtendedL2 && (backing?.node.length ?? 0) > start
    return try await remap(start, place.count - first) { index, _ in
      ExtendedL2Entry(
        entry: .normal(HostOffset((place.first + first + index) << bits), isCopied: true),
        bitmap: hidesBelow ? ExtendedL2Entry.allZero : 0)
    }
  }

  /// Takes free clusters behind all that was ever written, where the file reads as zeros; on a
  /// device, which does not grow, wherever there are any.
  private func allocateBehindAll(_ count: Int) async throws(BlockError) -> ClusterRun {
    var position = file.node.driver.limits.growsOnWrite ? tables.withLock { $0.highWater } : 0
    return try await withRefcounts { tables throws(BlockError) in
      try tables.allocate(count, minimum: 1, from: &position)
    }
  }

  private func prepareSpace(_ place: ClusterRun, _ mode: Preallocation) async throws(BlockError) {
    let node = file.node
    let range = ByteRange(
      offset: place.first << geometry.clusterBits, count: place.count << geometry.clusterBits)
    if !place.isPristine || !node.driver.limits.growsOnWrite {
      try await node.writeZeroes(range)
    } else if range.upper > node.length {
      // A mapping names no place behind the file's end, after a crash either.
      try await node.resize(to: range.upper)
    }
    try await node.prepareSpace(range, mode)
  }
}

extension BlockNode {
  /// Has the host reserve `range`, which reads as zeros, or writes it, as `mode` says.
  func prepareSpace(_ range: ByteRange, _ mode: Preallocation) async throws(BlockError) {
    switch mode {
    case .off, .metadata: return
    case .falloc: try await reserveSpace(range)
    case .full:
      let zeros = IOBuffer(byteCount: min(range.count, 1 << 20), zeroed: true)
      var rest = range
      while !rest.isEmpty {
        let piece = rest.prefix(zeros.byteCount)
        try await write(piece, from: zeros.bytes.slice(ByteRange(0, piece.count)))
        rest = rest.dropFirst(piece.count)
      }
    }
  }
}
