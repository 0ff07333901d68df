public import BlockLayer
internal import Execution
public import Primitives
internal import Synchronization

/// Writes. Mapped clusters that are ours alone are overwritten in place; for others new clusters
/// are taken, filled with the data and what was around it, and then mapped.
extension Qcow2Driver {
  /// Writes the bytes of `range`.
  ///
  /// Metadata that is found wrong ends writing: the image is marked as corrupt, and still reads.
  public func write(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    do {
      try await writeData(range, bytes)
    } catch {
      await noteCorruption(error)
      throw error
    }
  }

  private func writeData(_ range: ByteRange, _ bytes: RawSpan) async throws(BlockError) {
    try await prepareForChanges()
    var done = 0
    while done < range.count {
      let guest = range.lower + done
      let (run, ticket) = try await enterRun(guest, range.count - done)
      if case .data(let host, isCopied: true) = run.kind {
        let part = bytes.slice(ByteRange(offset: done, count: run.count))
        let written: Int
        do {
          defer { epochs.leave(ticket) }
          written = try await writeInPlace(ByteRange(offset: host, count: run.count), part)
        }
        if written == 0 { try await disown(guest) }
        done += written
      } else {
        epochs.leave(ticket)
        let rest = range.dropFirst(done)
        let part = bytes.slice(ByteRange(done, range.count))
        done += try await writeAllocating(rest, part)
      }
    }
    #if MUTANT_IN_USE_AFTER_WRITE
    if bitmapClaimIsDue.exchange(false, ordering: .acquiring) { try await claimBitmaps() }
    #endif
  }

  /// Writes the beginning of `bytes` at `host`, as far as that is ours alone; answers how much.
  private func writeInPlace(
    _ host: ByteRange, _ bytes: RawSpan
  ) async throws(BlockError) -> Int {
    let count = try await ownedCount(of: host)
    guard count > 0 else { return 0 }
    await raise(.writeAio)
    try await dataNode.write(host.prefix(count), from: bytes.slice(ByteRange(0, count)))
    return count
  }

  /// Writes the beginning of `range` into clusters that have to be mapped for it, and answers how
  /// many bytes; 0 when another request has mapped the first cluster meanwhile.
  private func writeAllocating(_ range: ByteRange, _ bytes: RawSpan) async throws(BlockError)
    -> Int
  {
    let window = allocationWindow(range)
    return try await allocationLocks.withLock(window) { () async throws(BlockError) in
      // First: once the table is ours its copied flags count, for others' requests too.
      try await ensureTable(geometry.split(GuestOffset(window.lower)).l1Index)
      var target = try await writeTarget(window, range)
      guard target.count > 0 else { return 0 }
      guard let place = try await place(for: target) else {
        try await disownLocked(window.prefix(geometry.clusterSize))
        return 0
      }
      // Fewer clusters may follow each other than are wanted.
      target.count = place.count
      let clusters = ByteRange(
        offset: window.lower, count: place.count << geometry.clusterBits)
      let data = range.intersection(clusters)
      var area = target.area.intersection(clusters)
      // A data file is as long as the disk.
      if dataFile != nil { area = area.intersection(ByteRange(0, max(length, data.upper))) }
      var linked = 0
      do throws(BlockError) {
        let start = place.first << geometry.clusterBits + (area.lower - clusters.lower)
        #if MUTANT_COPY_AFTER_MAPPING
        let copied = try await merged(area, data, bytes)
        try await dataNode.write(
          ByteRange(offset: start + data.lower - area.lower, count: data.count),
          from: bytes.slice(ByteRange(0, data.count)))
        #else
        try await fill(area, at: start, isPristine: place.isPristine, data, bytes)
        #endif
        while linked < place.count {
          linked += try await link(clusters, area, place, from: linked, target.reuse != nil)
        }
        #if MUTANT_COPY_AFTER_MAPPING
        try await dataNode.write(ByteRange(offset: start, count: area.count), from: copied.bytes)
        #endif
      } catch {
        // What is not mapped was never referred to.
        if target.reuse == nil { try? await giveBack(place.first + linked, place.count - linked) }
        throw error
      }
      return data.count
    }
  }

  /// Clusters for a write: those that the guest's clusters have already, or free ones.
  ///
  /// Nil where the first has a place that others have too.
  private func place(for target: WriteTarget) async throws(BlockError) -> ClusterRun? {
    guard let host = target.reuse else { return try await allocate(target.count) }
    let bits = geometry.clusterBits
    let owned = try await ownedCount(of: ByteRange(offset: host, count: target.count << bits))
    return owned == 0 ? nil : ClusterRun(first: host >> bits, count: owned >> bits)
  }

  /// The clusters that one step may map: within one L2 table, bounded in length.
  func allocationWindow(_ range: ByteRange) -> ByteRange {
    let whole = range.roundedOut(to: geometry.clusterSize)
    let tableEnd = (whole.lower / geometry.bytesPerL1Entry + 1)
      .multipliedReportingOverflow(by: geometry.bytesPerL1Entry)
    let limit = max(Qcow2Limits.allocationRun, geometry.clusterSize)
    let end = min(whole.upper, whole.lower + limit)
    return ByteRange(whole.lower, tableEnd.overflow ? end : min(end, tableEnd.partialValue))
  }

  /// What a write of `data` has to do at the start of `window`; loads what it takes.
  private func writeTarget(
    _ window: ByteRange, _ data: ByteRange
  ) async throws(BlockError) -> WriteTarget {
    while true {
      let step = try tables.withLock { tables throws(BlockError) in
        try tables.writeTarget(window, data)
      }
      switch step {
      case .done(let target): return target
      case .missing(let offset): try await loadSlices(offset, window.lower, 1)
      }
    }
  }

  /// Writes the whole of `area` (guest bytes) to its place from `host` on: the data, of which
  /// `bytes` begin with those of `data`, and around it what the guest sees there now.
  private func fill(
    _ area: ByteRange, at host: Int, isPristine: Bool, _ data: ByteRange, _ bytes: RawSpan
  ) async throws(BlockError) {
    let bytes = bytes.slice(ByteRange(0, data.count))
    let node = dataNode
    let head = ByteRange(area.lower, data.lower)
    let tail = ByteRange(data.upper, area.upper)
    var isSparse = head.isEmpty && tail.isEmpty
    if !isSparse, isPristine, node.driver.limits.growsOnWrite {
      // The file reads as zeros around the data; nothing to write if the guest does too.
      let headIsZero = try await readsZero(head)
      isSparse = headIsZero ? try await readsZero(tail) : false
    }
    await raise(.writeAio)
    if isSparse {
      let place = ByteRange(offset: host + head.count, count: data.count)
      try await node.write(place, from: bytes)
    } else if area.count <= max(Qcow2Limits.mergedWrite, geometry.clusterSize) {
      let merged = try await merged(area, data, bytes)
      try await node.write(ByteRange(offset: host, count: area.count), from: merged.bytes)
    } else {
      try await copyOld(head, to: host)
      try await node.write(ByteRange(offset: host + head.count, count: data.count), from: bytes)
      try await copyOld(tail, to: host + area.count - tail.count)
    }
  }

  /// What `area` will hold: the data, and around it what the guest sees there now.
  private func merged(
    _ area: ByteRange, _ data: ByteRange, _ bytes: RawSpan
  ) async throws(BlockError) -> IOBuffer {
    let head = ByteRange(area.lower, data.lower)
    let tail = ByteRange(data.upper, area.upper)
    var buffer = IOBuffer(byteCount: area.count)
    var merged = buffer.mutableBytes
    try await readOld(head, &merged, at: 0)
    merged.copy(from: bytes.slice(ByteRange(0, data.count)), at: head.count)
    try await readOld(tail, &merged, at: area.count - tail.count)
    return buffer
  }

  /// Reads what the guest sees in `range` into `buffer`; beyond the disk's end, zeros.
  private func readOld(
    _ range: ByteRange, _ buffer: inout MutableRawSpan, at position: Int
  ) async throws(BlockError) {
    guard !range.isEmpty else { return }
    await raise(.cowRead)
    let visible = range.intersection(ByteRange(0, max(length, range.lower)))
    var part = buffer.slice(ByteRange(offset: position, count: range.count))
    var seen = part.slice(ByteRange(0, visible.count))
    try await read(visible, into: &seen)
    part.fill(ByteRange(visible.count, range.count), with: 0)
  }

  private func copyOld(_ range: ByteRange, to host: Int) async throws(BlockError) {
    guard !range.isEmpty else { return }
    var buffer = IOBuffer(byteCount: range.count)
    var bytes = buffer.mutableBytes
    try await readOld(range, &bytes, at: 0)
    await raise(.cowWrite)
    try await dataNode.write(ByteRange(offset: host, count: range.count), from: bytes.bytes)
  }

  /// Whether the guest sees zeros in `range` without any data having to be read.
  func readsZero(_ range: ByteRange) async throws(BlockError) -> Bool {
    var rest = range.intersection(ByteRange(0, max(length, range.lower)))
    while !rest.isEmpty {
      let run = try await lookUp(rest.lower, rest.count)
      switch run.kind {
      case .zero: break
      case .unallocated:
        let part = rest.prefix(run.count)
        if let backing = backing?.node, part.lower < backing.length {
          let inside = part.intersection(ByteRange(0, backing.length))
          let below = try await backing.chainStatus(inside)
          guard below.status.isZero, below.count >= inside.count else { return false }
        }
      case .data, .compressed: return false
      }
      rest = rest.dropFirst(run.count)
    }
    return true
  }

  /// Maps the clusters from the `first` on to their place, `area` of them as data; `isOurs` says
  /// that the place was theirs already, so that what else it holds stays.
  private func link(
    _ clusters: ByteRange, _ area: ByteRange, _ place: ClusterRun, from first: Int, _ isOurs: Bool
  ) async throws(BlockError) -> Int {
    let geometry = self.geometry
    let bits = geometry.clusterBits
    let start = clusters.lower + first << bits
    return try await remap(start, place.count - first) { index, old in
      let entry = L2Entry.normal(
        HostOffset((place.first + first + index) << bits), isCopied: true)
      guard geometry.hasExtendedL2 else { return ExtendedL2Entry(entry: entry) }
      let guest = start + index << bits
      let cluster = ByteRange(offset: guest, count: geometry.clusterSize)
      let written = geometry.subclusters(of: area.intersection(cluster), in: guest)
      let kept = isOurs ? old.allocated : 0
      let zeros = old.entry.isCompressed ? 0 : old.zeros
      return ExtendedL2Entry(entry: entry).with(
        allocated: kept | written, zeros: zeros & ~written)
    }
  }
}
